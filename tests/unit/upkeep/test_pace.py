"""Upkeep takes its time, and more of it while clients wait."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from obnam_server.upkeep.pace import BUSY_FACTOR, STEP_S, Pace


def spent(pace: Pace, size_bytes: int, clock: Clock) -> float:
    """Seconds that it takes, by the clock."""
    done = Deferred.fromCoroutine(pace.spend(size_bytes))
    start = clock.seconds()
    while not done.called:
        clock.advance(STEP_S / 4)
    return clock.seconds() - start


def test_so_many_bytes_a_second() -> None:
    clock = Clock()
    assert spent(Pace(clock, 1000, lambda: False), 5000, clock) == 5
    assert spent(Pace(clock, 1000, lambda: False), 0, clock) == 0


def test_slower_while_clients_wait_and_never_stopped() -> None:
    clock = Clock()
    assert spent(Pace(clock, 1000, lambda: True), 500, clock) == 0.5 * BUSY_FACTOR


def test_it_is_looked_at_anew_after_each_pause() -> None:
    clock = Clock()
    pace = Pace(clock, 1000, lambda: clock.seconds() < 1)
    assert spent(pace, 1000, clock) < 1 + 1
