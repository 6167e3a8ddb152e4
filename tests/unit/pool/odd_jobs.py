"""Jobs for the tests of the pool with real worker processes; and a client that gets killed."""

import os
import signal
import sys
import time
from multiprocessing import connection
from typing import Any, NoReturn

from obnam.errors import TargetFull
from obnam.pool.worker import Tools


def tell(tools: Tools, *words: object) -> tuple[int, str, tuple[object, ...]]:
    """Who did it, for which repository, and what was said."""
    return os.getpid(), tools.keys.fingerprint, words


def fail(_tools: Tools) -> NoReturn:
    """An error with fields."""
    raise TargetFull("/somewhere")


def write_into(tools: Tools, slab_name: str, data: bytes) -> int:
    """Write to a slab; says by which process."""
    tools.slab(slab_name)[: len(data)] = data
    return os.getpid()


def write_when_told(tools: Tools, fifo: str, slab_name: str, data: bytes) -> None:
    """Write to a slab, once there is a byte in a FIFO."""
    with open(fifo, "rb", buffering=0) as told:
        told.read(1)
    tools.slab(slab_name)[: len(data)] = data


def stop(_tools: Tools) -> None:
    """As if by Ctrl-Z; says so to nobody."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die(_tools: Tools) -> None:
    """As if the kernel had killed it."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_while_telling(_tools: Tools) -> bytes:
    """As if the kernel had killed it in the middle of its answer."""
    send = connection.Connection._send  # type: ignore[attr-defined]

    def send_half(self: Any, data: Any, *_: Any) -> None:
        send(self, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    connection.Connection._send = send_half  # type: ignore[attr-defined]
    return bytes(1000)


def start_badly(*_: object) -> NoReturn:
    """A worker that ends as it begins."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still here")


def sleep(_tools: Tools, seconds: float) -> None:
    """Take a while."""
    time.sleep(seconds)


def main() -> None:
    """Start two workers, print their process ids, and then do what the argument says."""
    from twisted.internet import defer
    from twisted.internet import reactor as global_reactor

    from obnam.crypto.envelope import Compression
    from obnam.crypto.keys import MasterKey, RepositoryKeys
    from obnam.crypto.seal import Suite
    from obnam.pool.pool import ProcessPool

    reactor: Any = global_reactor
    keys = RepositoryKeys.derive(MasterKey(bytes(32)))
    pool = ProcessPool(reactor, 2, keys, Suite.XCHACHA20POLY1305, Compression(1))

    async def go() -> None:
        for _ in range(2):
            told = await defer.gatherResults([pool.run(tell), pool.run(tell)])
            print(*{pid for pid, _, _ in told}, flush=True)
        if sys.argv[1] == "wait":
            await defer.Deferred()
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        pool.close()
        reactor.stop()

    reactor.callWhenRunning(lambda: defer.Deferred.fromCoroutine(go()))
    reactor.run()


if __name__ == "__main__":
    main()
