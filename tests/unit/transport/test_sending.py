"""What is sealed goes to the socket at once, and never past what waits already."""

from attrs import define
from twisted.internet.tcp import Connection

from obnam.transport.sending import send_now

DATA = memoryview(b"0123456789")


@define(eq=False)
class Below(Connection):
    """A connection whose socket takes ``room`` bytes."""

    room: int
    taken: bytes = b""

    def __attrs_post_init__(self) -> None:
        self.connected = True
        self.disconnecting = False
        self.dataBuffer = b""
        self._tempDataLen = 0

    def writeSomeData(self, data: bytes) -> int:  # noqa: N802
        taken = bytes(data[: self.room])
        self.taken += taken
        return len(taken)


def test_all_of_it_if_there_is_room() -> None:
    below = Below(room=100)
    assert send_now(below, DATA) == 10
    assert below.taken == b"0123456789"


def test_as_much_as_there_is_room_for() -> None:
    assert send_now(Below(room=3), DATA) == 3
    assert send_now(Below(room=0), DATA) == 0


def test_nothing_goes_past_what_waits() -> None:
    joined, single = Below(room=100), Below(room=100)
    joined.dataBuffer = b"x"
    single._tempDataLen = 1
    assert send_now(joined, DATA) == send_now(single, DATA) == 0
    assert joined.taken == single.taken == b""


def test_nothing_goes_to_a_connection_that_ends() -> None:
    closed, closing = Below(room=100), Below(room=100)
    closed.connected = False
    closing.disconnecting = True
    assert send_now(closed, DATA) == send_now(closing, DATA) == 0
