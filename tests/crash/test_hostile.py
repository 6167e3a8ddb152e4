"""A server that swaps, cuts, replays and forges: noticed, named, and nothing wrong is restored."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from obnam.model.ids import ChunkId
from obnam.wire.frames import pack_header, split
from tests.acceptance.computer import Computer
from tests.crash.world import World, new_computer, new_world
from tests.support.server_operator import Answered, on

Frames = list[tuple[ChunkId, bytes]]

FETCH = "POST /v1/chunks/fetch"
DESCRIBE = "GET /v1/repository"
LIST = "GET /v1/generations"
GET = "GET /v1/generations/ID"

FILE_BYTES = 100_000 + 128 * 1024
"""Cut by itself, and into one chunk."""


@frozen
class Scene:
    """Two generations of ``laptop``, whose files differ; one of ``desktop`` in the repository.

    ``early``: the server's data directory after the first generation. ``twin``: the laptop as it
    was then, all of its home; someone else may have it.
    """

    world: World
    first: str
    second: str
    desktops: str
    early: Path
    twin: Path

    @property
    def laptop(self) -> Computer:
        """The computer whose data the server plays with."""
        return self.world.computer

    def committed(self, generation: str) -> dict[str, Any]:
        """A generation as the server has it."""
        answer = self.world.operator.ask("GET", f"/v1/generations/{generation}")
        found: dict[str, Any] = json.loads(answer.body)
        return found

    def forget_cache(self) -> None:
        """So that databases of generations are fetched."""
        shutil.rmtree(self.laptop.folder / ".cache")

    def restore(self, code: int = 1) -> tuple[Path, str]:
        """Restore the latest generation: where ``live`` is in it, and what was complained about."""
        target = self.laptop.folder / "target"
        shutil.rmtree(target, ignore_errors=True)
        done = self.laptop.obnam("restore", "latest", str(target), code=code)
        return target / self.laptop.live.relative_to("/"), done.err


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("hostile")
    passphrase = folder / "passphrase"
    passphrase.write_text("open sesame")
    both = ("--passphrase-file", str(passphrase))
    with new_world(folder, both) as world:
        laptop, server = world.computer, world.server
        desktop = new_computer(folder / "desktop", server, world.operator, both, "desktop")
        (desktop.live / "theirs").write_bytes(b"theirs")
        theirs = desktop.backup().value("generation-id")
        (laptop.live / "small").write_bytes(b"small, once")
        for name in "abc":
            (laptop.live / name).write_bytes(os.urandom(FILE_BYTES))
        first = laptop.backup().value("generation-id")
        server.stop()
        shutil.copytree(server.data, folder / "early")
        shutil.copytree(laptop.folder, folder / "twin", symlinks=True)
        world.start_server()
        (laptop.live / "small").write_bytes(b"small, and later")
        for name in "ab":
            (laptop.live / name).write_bytes(os.urandom(FILE_BYTES))
        second = laptop.backup().value("generation-id")
        yield Scene(world, first, second, theirs, folder / "early", folder / "twin")


@pytest.fixture
def scene(shared: Scene) -> Iterator[Scene]:
    """The operator is honest again afterwards."""
    yield shared
    shared.world.operator.serve(shared.world.server.url)


def test_two_chunks_are_swapped(scene: Scene) -> None:
    def swap(frames: Frames) -> Frames:
        large = [at for at, (_, sealed) in enumerate(frames) if len(sealed) > FILE_BYTES]
        if len(large) < 2:
            return frames
        one, other = large[:2]
        ids = [chunk_id for chunk_id, _ in frames]
        sealed = [each for _, each in frames]
        sealed[one], sealed[other] = sealed[other], sealed[one]
        return list(zip(ids, sealed, strict=True))

    scene.world.operator.rule = on(FETCH, changed(swap))
    check_restored(scene, lost=2)
    check_verified(scene, damaged=2)


@pytest.mark.parametrize("keep", [0, 1, FILE_BYTES], ids=lambda keep: f"{keep}")
def test_a_chunk_is_cut_short(scene: Scene, keep: int) -> None:
    """To nothing: it is said to be missing. To anything else: it does not open."""
    scene.world.operator.rule = on(FETCH, changed(first_large(lambda sealed: sealed[:keep])))
    complaint = check_restored(scene, lost=1)
    check_verified(scene, damaged=1)
    assert ("is missing on the server" if not keep else "is damaged") in complaint


@pytest.mark.parametrize("at", [0, 20, -1], ids=lambda at: f"{at}")
def test_a_bit_of_a_chunk_is_flipped(scene: Scene, at: int) -> None:
    def flip(sealed: bytes) -> bytes:
        content = bytearray(sealed)
        content[at] ^= 0x04
        return bytes(content)

    scene.world.operator.rule = on(FETCH, changed(first_large(flip)))
    assert "is damaged" in check_restored(scene, lost=1)


def test_an_old_chunk_is_replayed(scene: Scene) -> None:
    """Sealed with the right key for an earlier content of the file, under the new one's id."""
    operator = scene.world.operator
    fetched: list[Frames] = []

    def keep(frames: Frames) -> Frames:
        fetched.append(frames)
        return frames

    operator.rule = on(FETCH, changed(keep))
    target = scene.laptop.folder / "earlier"
    scene.laptop.obnam("restore", "latest~1", str(target))
    # Small files and large ones are fetched side by side: which comes last is chance.
    latest = (sealed for frames in reversed(fetched) for _, sealed in frames)
    old = next(sealed for sealed in latest if len(sealed) > FILE_BYTES)
    operator.rule = on(FETCH, changed(first_large(lambda _: old)))
    check_restored(scene, lost=1)


def test_other_chunks_than_asked_for(scene: Scene) -> None:
    """An answer whose frames are in another order is none."""
    scene.world.operator.rule = on(FETCH, changed(lambda frames: frames[::-1]))
    restored, complaint = scene.restore()
    assert "gave an answer that makes no sense" in one_line(complaint)
    # An answer of a single frame is as it was; what is there by then is right.
    for path in restored.iterdir() if restored.exists() else ():
        assert path.read_bytes() == (scene.laptop.live / path.name).read_bytes()


def test_a_database_is_damaged(scene: Scene) -> None:
    """Without it nothing is known of the generation; a backup goes on without it."""
    scene.forget_cache()
    flip = changed(lambda frames: [(i, s[:-1] + bytes([s[-1] ^ 1])) for i, s in frames])
    scene.world.operator.rule = on(FETCH, flip)
    restored, complaint = scene.restore()
    assert f"generation {scene.second}: its database is damaged" in one_line(complaint)
    assert not restored.exists()
    done = scene.laptop.obnam("--json", "verify", code=1)
    assert "its database is damaged" in json.loads(done.err.splitlines()[-1])["message"]


@pytest.mark.parametrize("command", [["list"], ["backup"], ["restore", "latest", "new"]])
def test_the_newest_generation_is_hidden(scene: Scene, command: list[str]) -> None:
    older = scene.committed(scene.first)
    scene.world.operator.rule = on(DESCRIBE, with_members({"latest": older}))
    complaint = scene.laptop.refused(*command, code=1)
    assert "the server does not show the whole history of client laptop" in complaint
    assert scene.second in complaint
    scene.world.operator.rule = on(DESCRIBE, with_members({"latest": None}))
    complaint = scene.laptop.refused(*command, code=1)
    assert f"{scene.second} is in its list, and yet it is not shown" in complaint
    assert not (scene.laptop.folder / "new").exists()


def test_the_history_of_another_client_is_shown(scene: Scene) -> None:
    """All of it is genuine, and has the repository's signature; and hides the laptop's own."""
    theirs = {"client": "desktop", "latest": scene.committed(scene.desktops)}
    scene.world.operator.rule = on(DESCRIBE, with_members(theirs))
    accept = ["accept-history"]
    commands = [["list"], ["backup"], ["restore", "latest", "new"], accept, [*accept, "--yes"]]
    for command in commands:
        complaint = scene.laptop.refused(*command, code=1)
        assert "takes this computer for client desktop, and by secrets.yaml it is" in complaint
    assert not (scene.laptop.folder / "new").exists()


def test_the_list_hides_the_newest(scene: Scene) -> None:
    scene.world.operator.rule = on(LIST, listed(lambda lines: lines[:-1]))
    complaint = scene.laptop.refused("list", code=1)
    assert f"{scene.second} is not in the list of generations" in complaint


def test_the_list_is_reordered(scene: Scene) -> None:
    """Whether the numbers show it or are forged to hide it."""

    def exchange(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        *others, one, two = lines
        order = ("sequence", "received_ns")
        later = one | {name: two[name] for name in order}
        earlier = two | {name: one[name] for name in order}
        return [*others, earlier, later]

    operator = scene.world.operator
    operator.rule = on(LIST, listed(lambda lines: lines[::-1]))
    assert "generations out of order" in scene.laptop.refused("list", code=1)
    operator.rule = on(LIST, listed(exchange))
    for command in (["list"], ["restore", "latest", "new"]):
        complaint = scene.laptop.refused(*command, code=1)
        assert "does not show the whole history of client laptop" in complaint
    assert not (scene.laptop.folder / "new").exists()


def test_another_manifest_under_its_id(scene: Scene) -> None:
    """Of the generation before; and of another client of the same repository, whose key is ours."""
    for other in (scene.first, scene.desktops):
        forged = scene.committed(other)
        names = {"generation": scene.second, "client": "laptop"}
        scene.world.operator.rule = on(GET, with_members(forged | names))
        restored, complaint = scene.restore()
        assert f"generation {scene.second}: the server shows another manifest" in one_line(
            complaint
        )
        assert not restored.exists()
        scene.world.operator.rule = on(DESCRIBE, with_members({"latest": forged | names}))
        assert "shows another manifest" in scene.laptop.refused("backup", code=1)


def test_rolled_back_and_forked(scene: Scene) -> None:
    """An old copy of the data directory; then, on top of it, another history."""
    world = scene.world
    world.server.stop()
    late = world.server.folder / "late"
    world.server.data.rename(late)
    shutil.copytree(scene.early, world.server.data)
    world.start_server()
    try:
        for command in (["list"], ["backup"], ["restore", "latest", "new"]):
            complaint = scene.laptop.refused(*command, code=1)
            assert "its copy of repository laptop is older than" in complaint
            assert "; 1 generation of laptop is gone" in complaint
        twin = Computer(scene.twin, {**scene.laptop.environment, "HOME": str(scene.twin)})
        twin.configure([scene.laptop.live], f"server_url: {world.operator.url}\n")
        forked = twin.backup().value("generation-id")
        complaint = scene.laptop.refused("backup", code=1)
        assert "there are two receipts number 3: generation" in complaint
        assert scene.second in complaint
        assert forked in complaint
        assert not (scene.laptop.folder / "new").exists()
    finally:
        world.server.stop()
        shutil.rmtree(world.server.data)
        late.rename(world.server.data)
        world.start_server()
    assert len(world.generations()) == 3


def check_restored(scene: Scene, lost: int) -> str:
    """``lost`` of the large files are named and not there; everything else is. What was said."""
    restored, complaint = scene.restore()
    there = {path.name for path in restored.iterdir()}
    for name in there:
        assert (restored / name).read_bytes() == (scene.laptop.live / name).read_bytes()
    gone = {"a", "b", "c", "small"} - there
    assert len(gone) == lost
    assert gone <= {"a", "b", "c"}
    for name in gone:
        assert f"{scene.laptop.live / name}: not restored: chunk 01" in complaint
    return complaint


def check_verified(scene: Scene, damaged: int) -> None:
    """``verify`` finds so many files of the latest generation damaged."""
    done = scene.laptop.obnam("verify", code=1)
    assert done.value("status") == "DAMAGED"
    assert done.value("damaged-files") == str(damaged)


def changed(change: Callable[[Frames], Frames]) -> Callable[[Answered], Answered]:
    """An answer of frames, changed; without its length, which the operator makes anew."""

    def do(answer: Answered) -> Answered:
        body = memoryview(answer.body)
        frames = [(f.chunk_id, bytes(body[f.offset : f.offset + f.length])) for f in split(body)]
        new = b"".join(pack_header(i, len(sealed)) + sealed for i, sealed in change(frames))
        return answer.saying(new)

    return do


def first_large(change: Callable[[bytes], bytes]) -> Callable[[Frames], Frames]:
    """Change the first chunk of a large file."""

    def do(frames: Frames) -> Frames:
        for at, (chunk_id, sealed) in enumerate(frames):
            if len(sealed) > FILE_BYTES:
                return [*frames[:at], (chunk_id, change(sealed)), *frames[at + 1 :]]
        return frames

    return do


def with_members(members: dict[str, Any]) -> Callable[[Answered], Answered]:
    """An answer of JSON with other members."""
    return lambda answer: answer.saying(json.dumps(json.loads(answer.body) | members).encode())


def listed(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]],
) -> Callable[[Answered], Answered]:
    """A changed list of generations."""
    return lambda answer: answer.saying(
        json.dumps({"generations": change(json.loads(answer.body)["generations"])}).encode()
    )


def one_line(complaint: str) -> str:
    """It must be."""
    (line,) = complaint.splitlines()
    return line
