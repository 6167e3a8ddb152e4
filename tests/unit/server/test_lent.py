"""Bodies in memory that was lent: as good as those that come, and as little believed."""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from obnam.model.ids import RepositoryName, SessionId
from obnam.pool.slabs import Slab, make_slab
from obnam.wire.frames import pack_header
from obnam.wire.lent import MEMORIES_MAX, MEMORY_BYTES_MAX, LentPart
from obnam.wire.limits import UPLOAD_BODY_MAX
from obnam.wire.members import BadMessage
from obnam_server.lent import LentMemories
from obnam_server.store import quotas
from tests.support.raw_backup import begin, chunk_id, frames, problem
from tests.support.server_in_memory import RawAnswer, ServerInMemory, Wire

PAGE = mmap.PAGESIZE
LARGE = pack_header(chunk_id(7), 1_500_000) + b"large" * 300_000


def sealed_memory(size_bytes: int, seals: int = fcntl.F_SEAL_SHRINK) -> int:
    descriptor = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size_bytes)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


# What is taken


def test_a_slab_is_taken() -> None:
    memories, slab = LentMemories(), make_slab(2 * PAGE)
    assert memories.take(3, os.dup(slab.descriptor))
    slab.view[PAGE : PAGE + 5] = b"hello"
    view = memories.view(LentPart(3, PAGE, 5))
    assert bytes(view) == b"hello"
    assert view.readonly
    with pytest.raises(BadMessage):
        memories.view(LentPart(3, PAGE, PAGE + 1))
    slab.remove()
    assert bytes(view) == b"hello"


def test_a_slab_cannot_shrink() -> None:
    slab = make_slab(2 * PAGE)
    with pytest.raises(PermissionError):
        os.ftruncate(slab.descriptor, PAGE)
    slab.remove()


def not_sealed() -> int:
    return sealed_memory(PAGE, fcntl.F_SEAL_GROW)


def empty() -> int:
    return sealed_memory(0)


def too_large() -> int:
    return sealed_memory(MEMORY_BYTES_MAX + PAGE)


def a_file() -> int:
    return os.open(__file__, os.O_RDONLY)


def a_pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def a_directory() -> int:
    return os.open("/", os.O_RDONLY)


@pytest.mark.parametrize(
    "make", [not_sealed, empty, too_large, a_file, a_pipe, a_directory], ids=lambda f: f.__name__
)
def test_what_is_not_taken_is_closed(make: Callable[[], int]) -> None:
    memories = LentMemories()
    descriptor = make()
    assert not memories.take(1, descriptor)
    with pytest.raises(OSError):
        os.fstat(descriptor)
    assert memories.take(1, sealed_memory(PAGE))  # its number was not used up


def test_a_number_is_used_once() -> None:
    memories = LentMemories()
    assert memories.take(1, sealed_memory(PAGE))
    assert not memories.take(1, sealed_memory(2 * PAGE))
    assert len(memories.view(LentPart(1, 0, PAGE))) == PAGE


def test_so_many_and_no_more() -> None:
    memories = LentMemories()
    taken = [memories.take(number, sealed_memory(PAGE)) for number in range(MEMORIES_MAX + 2)]
    assert taken == [True] * MEMORIES_MAX + [False] * 2


# Uploads


@define
class Scene:
    """A server that can be lent memory, and has some: number 1, with ``body`` from PAGE on."""

    server: ServerInMemory
    folder: Path
    wire: Wire
    token: str
    session: SessionId
    slab: Slab = field(factory=lambda: make_slab(UPLOAD_BODY_MAX + 2 * PAGE))

    def put(self, body: bytes) -> str:
        self.slab.view[PAGE : PAGE + len(body)] = body
        return f"1 {PAGE} {len(body)}"

    def store(self, lent: str, body: bytes = b"") -> RawAnswer:
        return self.wire.request(
            *("POST", "/v1/chunks", body),
            token=self.token,
            session=self.session,
            Obnam_Lent=lent,
        )

    def fetched(self, *numbers: int) -> bytes:
        ids = b"".join(chunk_id(number) for number in numbers)
        wire = self.server.connect("")
        return wire.request("POST", "/v1/chunks/fetch", ids, token=self.token).body

    def leftovers(self) -> list[Path]:
        """What of an upload lies anywhere but in a segment that the index knows."""
        home = next(self.folder.glob("**/incoming")).parent
        known = self.server.store.repository(RepositoryName("laptop"))._index.segments()
        segments = [path for path in home.glob("segments/*/*") if int(path.name, 16) not in known]
        return [*(home / "incoming").iterdir(), *segments]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server = ServerInMemory.open(tmp_path / "data", is_embedded=True)
    token = server.token("laptop")
    wire = server.connect("")
    scene = Scene(server, tmp_path, wire, token, begin(wire, token))
    assert server.lent.take(1, os.dup(scene.slab.descriptor))
    yield scene
    scene.slab.remove()
    server.close()


def test_a_body_in_memory_is_stored(scene: Scene) -> None:
    body = frames(1, 2) + LARGE
    assert scene.store(scene.put(body)).status == 204
    scene.slab.view[:] = bytes(len(scene.slab.view))  # it was read, and durable, by then
    assert scene.fetched(1, 2, 7) == body
    assert scene.leftovers() == []
    assert scene.wire.request("GET", "/health").status == 200  # on the same connection


def test_the_segment_is_that_of_a_body_that_came(scene: Scene) -> None:
    body = frames(1, 2)
    assert scene.store(scene.put(body)).status == 204
    sent = frames(3)
    wire = scene.wire
    came = wire.request("POST", "/v1/chunks", sent, token=scene.token, session=scene.session)
    assert came.status == 204
    first, second = sorted(scene.folder.glob("**/segments/*/*"))
    one, two = first.read_bytes(), second.read_bytes()
    at = two.index(sent)
    assert one[at : at + len(body)] == body
    assert one[:8] == two[:8]


def test_the_largest_body(scene: Scene) -> None:
    largest = UPLOAD_BODY_MAX - len(pack_header(chunk_id(0), 0))
    chunks = [(n, min(2**20, largest - at)) for n, at in enumerate(range(0, largest, 2**20 + 37))]
    body = b"".join(pack_header(chunk_id(n), size) + b"x" * size for n, size in chunks)
    body = body[:UPLOAD_BODY_MAX]
    assert len(body) <= UPLOAD_BODY_MAX
    assert scene.store(scene.put(body)).status == 204
    assert scene.store(f"1 0 {UPLOAD_BODY_MAX + 1}").status == 413


def test_it_must_lie_in_the_memory(scene: Scene) -> None:
    end = len(scene.slab.view)
    for lent in (f"1 {end - 9} 10", f"1 {end} 1", f"1 {end + 1} 0", "1 999999999 1", "2 0 10"):
        answer = scene.store(lent)
        assert (answer.status, problem(answer)) == (400, "bad-request")
    assert scene.leftovers() == []


@pytest.mark.parametrize(
    "lent",
    ["", "1", "1 0", "1 0 10 1", "-1 0 10", "1 -1 10", "1 0 -1", "1  0 10", "a 0 10", "1 0x0 10",
     "1 0 1e3", "1 0 10, 1 0 10", "1 0 9999999999", "1 0 \u00b2"],
)  # fmt: skip
def test_a_header_that_makes_no_sense(scene: Scene, lent: str) -> None:
    answer = scene.store(lent)
    assert (answer.status, problem(answer)) == (400, "bad-request")


def test_a_body_that_comes_as_well(scene: Scene) -> None:
    answer = scene.store(scene.put(frames(1)), frames(2))
    assert (answer.status, problem(answer)) == (400, "bad-request")
    assert scene.wire.closed
    assert scene.leftovers() == []


def test_what_is_no_body(scene: Scene) -> None:
    whole = frames(1)
    short = pack_header(chunk_id(1), 0)
    for body in (b"", whole[:-1], whole + b"x", b"\xff" * 100, short, LARGE[:-1]):
        answer = scene.store(scene.put(body))
        assert (answer.status, problem(answer)) == (400, "bad-request")
    assert scene.leftovers() == []
    assert scene.store(scene.put(whole)).status == 204


def test_there_must_be_room(scene: Scene) -> None:
    home = RepositoryName("laptop")
    quotas.set_quota(scene.server.store, home, 1, force=True)
    answer = scene.store(scene.put(frames(1)))
    assert (answer.status, problem(answer)) == (507, "over-quota")
    assert scene.leftovers() == []


def test_who_asks_is_known_first(scene: Scene) -> None:
    """A stranger learns nothing of what was lent."""
    for lent in (scene.put(frames(1)), "2 0 10"):
        answer = scene.wire.request(
            "POST", "/v1/chunks", b"", token="x" * 43, session=scene.session, Obnam_Lent=lent
        )
        assert (answer.status, problem(answer)) == (401, "unauthenticated")


def test_a_session_that_is_lost(scene: Scene) -> None:
    answer = scene.wire.request(
        *("POST", "/v1/chunks", b""),
        token=scene.token,
        session="0" * 32,
        Obnam_Lent=scene.put(frames(1)),
    )
    assert (answer.status, problem(answer)) == (409, "session-lost")
    assert scene.leftovers() == []


def test_other_requests_have_no_body_in_memory(scene: Scene) -> None:
    lent = scene.put(chunk_id(1))
    for path in ("/v1/chunks/missing", "/v1/chunks/fetch", "/v1/sessions"):
        wire = scene.server.connect("")
        answer = wire.request(
            "POST", path, b"", token=scene.token, session=scene.session, Obnam_Lent=lent
        )
        assert (answer.status, problem(answer)) == (400, "bad-request")


@pytest.mark.parametrize("steps", range(6))
def test_a_client_that_goes_away(scene: Scene, steps: int) -> None:
    """At any step: stored whole, or not at all."""
    lent = scene.put(frames(1))
    wire, work = scene.wire, scene.server.work
    head = wire.head(
        *("POST", "/v1/chunks", b""), token=scene.token, session=scene.session, Obnam_Lent=lent
    )
    wire.channel.dataReceived(head)
    for _ in range(steps):
        if work._queue:
            work._queue.popleft()()
    wire.lose()
    absent = pack_header(chunk_id(1), 0)
    assert scene.fetched(1) in (frames(1), absent)
    assert scene.leftovers() == []
    again = scene.server.connect("")
    answer = again.request(
        *("POST", "/v1/chunks", b""), token=scene.token, session=scene.session, Obnam_Lent=lent
    )
    assert answer.status == 204
    assert scene.fetched(1) == frames(1)


def test_a_server_that_is_not_embedded_takes_none(server: ServerInMemory) -> None:
    token = server.token("laptop")
    assert server.lent.take(1, sealed_memory(PAGE))
    for host in ("192.0.2.1", ""):
        wire = server.connect(host)
        session = begin(wire, token)
        answer = wire.request(
            "POST", "/v1/chunks", b"", token=token, session=session, Obnam_Lent="1 0 10"
        )
        assert (answer.status, problem(answer)) == (400, "bad-request")
