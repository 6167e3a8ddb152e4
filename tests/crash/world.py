"""What the crash tests play with: a computer, its server, and the operator between the two."""

import hashlib
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import define, evolve

from obnam.model.ids import ChunkId, RepositoryName
from obnam.wire.frames import split
from obnam.wire.idlists import pack_ids
from obnam_server.store.store import Store
from tests.acceptance.computer import Computer, processes_of, tree
from tests.support import mortal_server
from tests.support.server_operator import Operator
from tests.support.server_process import ServerProcess
from tests.support.stored import Clock

MIB = 1 << 20
PATIENCE_S = 30.0
REPOSITORY = RepositoryName("laptop")
ALONE = ("--no-passphrase",)
"""How the only computer of a repository joins it."""

LARGE_BYTES = 17 * MIB
"""More than a slab: read, named and sent part by part."""


@define(eq=False)
class World:
    """All of it. ``will``: where the server reads at which step it is to die."""

    computer: Computer
    server: ServerProcess
    operator: Operator
    will: Path

    def write_tree(self, seed: int) -> None:
        """New live data, of which nothing is on the server: several uploads' worth.

        What came before is looked for on, but not every single chunk of it each time.
        """
        self.operator.look_for_fewer()
        live = self.computer.live
        shutil.rmtree(live)
        live.mkdir()
        content = _bytes(seed, LARGE_BYTES + 4 * MIB)
        (live / "large").write_bytes(content[:LARGE_BYTES])
        for number in range(4):
            start = LARGE_BYTES + number * MIB
            (live / f"medium-{number}").write_bytes(content[start : start + MIB])
        small = live / "small"
        small.mkdir()
        for number in range(100):
            (small / f"{number}").write_bytes(content[number * 9973 :][: number * 321])

    def kill_server_at(self, step: str) -> None:
        """The server will kill itself there; the step counts from now on."""
        self.will.write_text(step)

    def start_server(self) -> None:
        """Start it (again), and let the operator know where it is now."""
        self.server.start()
        self.operator.serve(self.server.url)

    def wait_for_server(self, client: "subprocess.Popen[str]") -> None:
        """Wait until the server is dead. Fails when the client ends before."""
        ended = first_to_end([self.server.pid, client.pid])
        if ended != self.server.pid:
            out, err = client.communicate(timeout=PATIENCE_S)
            raise AssertionError(f"the server lives, and the client ended: {out}{err}")
        self.server.kill()

    def end_client(self, client: "subprocess.Popen[str]") -> None:
        """SIGKILL; all that it started ends too."""
        client.kill()
        # Until nobody has its output open.
        client.communicate(timeout=PATIENCE_S)
        assert processes_of(self.computer) == []

    def check_after_crash(self) -> None:
        """Of a copy of what the dead server left: acknowledged chunks, whole generations."""
        with _copied(self.server.data, self.server.folder / "copy") as data:
            check_store(data, self.operator.acknowledged)

    def check_acknowledged(self) -> None:
        """All acknowledged chunks, as the running server gives them."""
        wanted = list(self.operator.acknowledged)
        for at in range(0, len(wanted), 8):
            ids = wanted[at : at + 8]
            answer = self.operator.ask("POST", "/v1/chunks/fetch", pack_ids(ids))
            assert answer.status == 200
            body = memoryview(answer.body)
            found = [(f.chunk_id, bytes(body[f.offset : f.offset + f.length])) for f in split(body)]
            assert [chunk_id for chunk_id, _ in found] == ids
            for chunk_id, sealed in found:
                assert sealed in self.operator.acknowledged[chunk_id]

    def check_next_backup(self) -> None:
        """It completes, and sends nothing that was acknowledged before."""
        before = set(self.operator.acknowledged)
        self.operator.sent.clear()
        done = self.computer.obnam("--json", "backup").json
        assert (done["status"], done["warnings"]) == ("OK", 0)
        assert not before & set(self.operator.sent)

    def check_restore(self) -> None:
        """The latest generation is the live data."""
        restored = self.computer.restored()
        assert tree(restored) == tree(self.computer.live)
        shutil.rmtree(self.computer.folder / restored.relative_to(self.computer.folder).parts[0])

    def generations(self) -> list[str]:
        """Their ids, oldest first, as the server lists them."""
        answer = self.operator.ask("GET", "/v1/generations")
        assert answer.status == 200
        return [each["generation"] for each in json.loads(answer.body)["generations"]]


@contextmanager
def new_world(folder: Path, options: Sequence[str] = ALONE) -> Iterator[World]:
    """A server that can be told when to die, and a computer that joined through the operator.

    ``options``: of its ``init``.
    """
    will = folder / "will"
    program = (
        sys.executable,
        str(Path(mortal_server.__file__)),
        str(will),
        "--nodaemon",
        "--pidfile=",
    )
    server = ServerProcess(folder / "server", program=program)
    server.start()
    try:
        with Operator(server.data) as operator:
            operator.serve(server.url)
            computer = new_computer(folder / "computer", server, operator, options)
            yield World(computer, server, operator, will)
    finally:
        server.stop()


def new_computer(
    folder: Path,
    server: ServerProcess,
    operator: Operator,
    options: Sequence[str],
    client: str = "laptop",
) -> Computer:
    """A computer of a client of the one repository, joined through the operator."""
    computer = Computer.new(folder)
    temporary = folder / "tmp"
    temporary.mkdir()
    computer = evolve(computer, environment={**computer.environment, "TMPDIR": str(temporary)})
    computer.configure([computer.live], f"server_url: {operator.url}\n")
    invitation = server.invite(client, REPOSITORY)
    computer.obnam("init", invitation, *options)
    return computer


def first_to_end(pids: Sequence[int]) -> int:
    """Wait for the first of these processes to end; which it is."""
    descriptors = {os.pidfd_open(pid): pid for pid in pids}
    try:
        ended, _, _ = select.select(list(descriptors), [], [], PATIENCE_S)
        assert ended, "nobody ended"
        return descriptors[ended[0]]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def check_store(data: Path, acknowledged: dict[ChunkId, set[bytes]]) -> None:
    """Open a data directory as after a crash. Nothing is lost, and no generation lacks a chunk."""
    store = Store.open(data, Clock())
    try:
        home = store.repository(REPOSITORY)
        assert home.problems == []
        assert list((data / "repositories" / REPOSITORY / "incoming").iterdir()) == []
        ids = list(acknowledged)
        body = memoryview(b"".join(home.frames(home.wanted(ids))))
        for frame in split(body):
            sealed = bytes(body[frame.offset : frame.offset + frame.length])
            assert sealed in acknowledged[frame.chunk_id]
        stored = home._index.all_stored()
        for summary in home.list_generations(0, 1000):
            numbers = home._index.generation_set(summary.receipt.generation)
            assert numbers is not None
            assert len(numbers) == summary.chunk_count
            assert not numbers - stored
            home.get_generation(summary.receipt.generation)
    finally:
        store.close()


@contextmanager
def _copied(source: Path, target: Path) -> Iterator[Path]:
    # The socket of the administration, which the killed one left, is nothing that can be copied.
    sockets = shutil.ignore_patterns("*.socket")
    shutil.copytree(source, target, ignore=sockets, copy_function=_copy)
    try:
        yield target
    finally:
        shutil.rmtree(target)


def _copy(source: str, target: str) -> None:
    """A segment is never changed, so a link will do; it may be removed in one of both."""
    if "/segments/" in source:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _bytes(seed: int, size_bytes: int) -> bytes:
    """Bytes that do not shrink, other ones for each seed, the same each time."""
    return hashlib.shake_128(seed.to_bytes(8, "big")).digest(size_bytes)
