"""Bodies on their way into segments: order, backpressure, and nothing left of failures."""

from collections.abc import Sequence

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from obnam_server.store.errors import StoreFull
from obnam_server.store.repository import Upload
from obnam_server.uploads import WAITING_MAX, WRITE_AT_ONCE, UploadBody
from tests.support.server_in_memory import WorkByHand

PIECE = 16 * 1024


class Written(Upload):
    """An upload that remembers, and fails when it is told to."""

    def __init__(self, full_after: int | None = None) -> None:
        self.body = b""
        self.writes = 0
        self.state = "open"
        self._full_after = full_after

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        self.writes += 1
        self.body += b"".join(pieces)
        if self._full_after is not None and len(self.body) > self._full_after:
            raise StoreFull("here")

    def finish(self) -> None:
        self.state = "finished"

    def abort(self) -> None:
        self.state = "aborted"


@define
class Case:
    upload: Written = field(factory=Written)
    begun: int = 0
    paused: bool = False
    failures: list[Failure] = field(factory=list)
    work: WorkByHand = field(init=False)
    body: UploadBody[Upload] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.work = WorkByHand(Clock())  # type: ignore[arg-type]
        self.body = UploadBody(self.begin, self.work, self, self.failures.append)

    def begin(self) -> Upload:
        self.begun += 1
        return self.upload

    def pause_body(self) -> None:
        self.paused = True

    def resume_body(self) -> None:
        self.paused = False


@given(st.lists(st.integers(0, 3 * WRITE_AT_ONCE // 2), max_size=6), st.randoms())
def test_what_is_fed_is_written_in_order(sizes: list[int], random: "object") -> None:
    case = Case()
    expected = b""
    for number, size in enumerate(sizes):
        piece = bytes([number]) * size
        expected += piece
        case.body.feed(piece)
        if random.random() < 0.5:  # type: ignore[attr-defined]
            case.work.do_all()
    finished: list[Upload] = []
    case.body.finished().addCallback(finished.append)
    case.work.do_all()
    assert finished == [case.upload]
    assert case.upload.state == "finished"
    assert case.upload.body == expected
    assert case.begun == 1
    assert not case.failures


def test_pieces_are_gathered() -> None:
    case = Case()
    for _ in range(WRITE_AT_ONCE // PIECE - 1):
        case.body.feed(bytes(PIECE))
    case.work.do_all()
    assert case.upload.writes == 0
    case.body.feed(bytes(PIECE))
    case.work.do_all()
    assert case.upload.writes == 1
    assert len(case.upload.body) == WRITE_AT_ONCE


def test_a_slow_disk_pauses_the_client() -> None:
    case = Case()
    for _ in range((WRITE_AT_ONCE + WAITING_MAX) // PIECE):
        case.body.feed(bytes(PIECE))
    assert not case.paused
    case.body.feed(bytes(PIECE))
    assert case.paused
    case.work.do_all()
    assert not case.paused


def test_a_client_gone_before_anything_was_written() -> None:
    case = Case()
    case.body.feed(bytes(PIECE))
    case.body.give_up()
    case.work.do_all()
    assert case.begun == 0


def test_a_client_gone_while_a_thread_writes() -> None:
    case = Case()
    case.body.feed(bytes(WRITE_AT_ONCE))
    case.body.give_up()  # the write is under way
    case.body.feed(bytes(WRITE_AT_ONCE))
    case.work.do_all()
    assert case.upload.state == "aborted"
    assert case.upload.writes == 1
    assert not case.failures


def test_a_client_gone_between_writes() -> None:
    case = Case()
    case.body.feed(bytes(WRITE_AT_ONCE))
    case.work.do_all()
    case.body.give_up()
    case.body.give_up()
    case.work.do_all()
    assert case.upload.state == "aborted"


def test_a_full_disk_is_told_at_once() -> None:
    case = Case(Written(full_after=0))
    case.body.feed(bytes(WRITE_AT_ONCE))
    case.work.do_all()
    assert [failure.type for failure in case.failures] == [StoreFull]
    assert case.upload.state == "aborted"
    case.body.feed(bytes(WRITE_AT_ONCE))
    case.work.do_all()
    assert case.upload.writes == 1


def test_a_full_disk_at_the_end_is_told_to_who_waits() -> None:
    case = Case(Written(full_after=0))
    case.body.feed(b"x")
    failed: list[Failure] = []
    case.body.finished().addErrback(failed.append)
    case.work.do_all()
    assert [failure.type for failure in failed] == [StoreFull]
    assert not case.failures
    assert case.upload.state == "aborted"


def test_an_empty_body_is_an_upload_too() -> None:
    case = Case()
    finished: list[Upload] = []
    case.body.finished().addCallback(finished.append)
    case.work.do_all()
    assert finished == [case.upload]
