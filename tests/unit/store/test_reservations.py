"""Room for bodies that are on their way: each byte counts once, whoever looks when."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from attrs import define, field

from obnam_server.store.reservations import Reservation, Reservations

QUOTA = 100


@define(eq=False)
class Room:
    used_bytes: int = 0
    reservations: Reservations = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.reservations = Reservations(lambda: self.used_bytes)

    def take(self, size_bytes: int) -> Reservation | None:
        new = self.reservations.new(size_bytes)
        return new if self.reservations.take(new, QUOTA)[0] else None

    def store(self, reservation: Reservation) -> None:
        with self.reservations.being_used(reservation):
            self.used_bytes += reservation.size_bytes


@pytest.fixture
def room() -> Room:
    return Room()


def test_to_the_byte(room: Room) -> None:
    first = room.take(60)
    assert first is not None
    assert room.take(41) is None
    second = room.take(40)
    assert second is not None
    assert room.take(1) is None
    room.store(first)
    room.store(second)
    assert (len(room.reservations), room.used_bytes) == (0, QUOTA)
    assert room.take(1) is None


def test_what_does_not_come_makes_room(room: Room) -> None:
    first = room.take(60)
    assert first is not None
    first.release()
    first.release()
    assert room.take(100) is not None


def test_one_that_was_given_up_before_it_was_taken(room: Room) -> None:
    """A client that goes away while a thread looks."""
    gone = room.reservations.new(60)
    gone.release()
    assert room.reservations.take(gone, QUOTA) == (True, 0)
    assert len(room.reservations) == 0


def test_a_failure_leaves_it_reserved(room: Room) -> None:
    first = room.take(60)
    with pytest.raises(OSError), room.reservations.being_used(first):
        raise OSError
    assert len(room.reservations) == 1


def test_nobody_looks_while_one_becomes_the_other(room: Room) -> None:
    """Between the two it would count twice, or not at all."""
    first = room.take(60)
    assert first is not None
    asks = Event()

    def ask() -> Reservation | None:
        asks.set()
        return room.take(40)

    with ThreadPoolExecutor(1) as pool:
        with room.reservations.being_used(first):
            room.used_bytes += 60
            answer = pool.submit(ask)
            asks.wait()
            assert not answer.done()
        assert answer.result() is not None
