"""A wire that can be cut: passes TCP on byte by byte, and cuts where a test says.

It knows nothing of what it carries. Bytes of both directions and all connections are counted as
one; the connection that carries a byte number at which to cut is closed right before it, without
a word of TLS.
"""

import contextlib
import socket
import threading
from collections.abc import Sequence

from attrs import define, field

_PIECE_BYTES = 64 * 1024


@define(eq=False)
class Relay:
    """A context manager. Cuts once at each byte number of ``cuts`` (ascending, from 1).

    ``each_bytes``: so much, of both directions together, is carried by any one connection before it
    is cut, as by a link that drops them all the time; ``dropped``: how many were.
    """

    target_port: int
    cuts: Sequence[int] = ()
    each_bytes: int | None = None
    dropped: int = 0
    carried: int = 0
    made: int = 0
    _next: int = 0
    _lock: threading.Lock = field(factory=threading.Lock)
    _listening: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(factory=list)
    _pairs: "list[_Pair]" = field(factory=list)

    def __enter__(self) -> "Relay":
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.shut()
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"https://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def all_made(self) -> bool:
        """Whether every cut was made."""
        return self.made == len(self.cuts)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return  # The end.
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                near.close()
                continue
            pair = _Pair(near, far)
            with self._lock:
                self._pairs.append(pair)
            self._start(self._pump, near, far, pair)
            self._start(self._pump, far, near, pair)

    def _pump(self, source: socket.socket, sink: socket.socket, pair: "_Pair") -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                keep = self._count(len(piece), pair)
                sink.sendall(piece[:keep])
                if keep < len(piece):
                    break
        pair.done()

    def _count(self, size_bytes: int, pair: "_Pair") -> int:
        """How many of the next bytes pass before a cut."""
        with self._lock:
            start, self.carried = self.carried, self.carried + size_bytes
            carried, pair.carried = pair.carried, pair.carried + size_bytes
            if self.each_bytes is not None and pair.carried > self.each_bytes:
                self.dropped += carried <= self.each_bytes
                return max(0, self.each_bytes - carried)
            if self.made < len(self.cuts) and self.cuts[self.made] <= self.carried:
                cut = self.cuts[self.made]
                self.made += 1
                return max(0, cut - 1 - start)
            return size_bytes


@define(eq=False)
class _Pair:
    """The two ends of one connection, closed when both its threads are through."""

    near: socket.socket
    far: socket.socket
    carried: int = 0
    _left: int = 2
    _lock: threading.Lock = field(factory=threading.Lock)

    def shut(self) -> None:
        """Wake up whoever waits for either."""
        for each in (self.near, self.far):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def done(self) -> None:
        """One thread is through: so is the other, soon."""
        self.shut()
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self.near.close()
            self.far.close()
