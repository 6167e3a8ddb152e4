"""Room for bodies that are on their way, within a quota, to the byte.

What counts is the size of all segments, and with it the bodies that are being received. A body that
is stored goes from one sum to the other in one step, so that none counts twice, and none not at
all.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field


@define(eq=False)
class Reservation:
    """Room for one body."""

    size_bytes: int
    _all: set["Reservation"]
    _released: bool = field(init=False, default=False)

    def release(self) -> None:
        """The body is stored, or will not come. Any thread; harmless when repeated."""
        self._released = True
        self._all.discard(self)

    def _enter(self) -> None:
        self._all.add(self)
        if self._released:  # meanwhile
            self._all.discard(self)


@define(eq=False)
class Reservations:
    """Those of one repository. ``_used_bytes``: the size of all segments."""

    _used_bytes: Callable[[], int]
    _all: set[Reservation] = field(init=False, factory=set)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __len__(self) -> int:
        """How many bodies are on their way."""
        return len(self._all)

    def new(self, size_bytes: int) -> Reservation:
        """One that does not count yet."""
        return Reservation(size_bytes, self._all)

    def take(self, reservation: Reservation, quota_bytes: int | None) -> tuple[bool, int]:
        """Let it count, if it fits: whether it does, and the bytes that are used. Any thread."""
        with self._lock:
            used_bytes = self._used_bytes()
            coming_bytes = sum(each.size_bytes for each in tuple(self._all))
            fits = (
                quota_bytes is None
                or used_bytes + coming_bytes + reservation.size_bytes <= quota_bytes
            )
            if fits:
                reservation._enter()
            return fits, used_bytes

    @contextmanager
    def being_used(self, reservation: Reservation | None) -> Iterator[None]:
        """Within, the body becomes a segment that the index knows; then it is used, and not
        reserved. After an error it is reserved still.
        """
        with self._lock:
            yield
            if reservation is not None:
                reservation.release()
