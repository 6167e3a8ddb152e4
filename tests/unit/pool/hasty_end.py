"""A client that ends while a worker is being started, run as a program by the tests.

``connected``: the fork server is to hear of a new worker, and hears nothing. ``asked``: the worker
is there, and is told nothing; ``half``: not all. ``told``: all, but what it needs is gone by then;
``alive``: and the client still lives. Prints the names of its semaphores.
"""

import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import forkserver, popen_forkserver, reduction
from typing import Any, NoReturn

from obnam.pool import launch


def end(*_: object) -> NoReturn:
    """Without a word to anybody."""
    os._exit(0)


def main() -> None:
    """Start a pool, and end in the middle of that."""
    how = sys.argv[1]
    module: Any = popen_forkserver
    context = launch.context()
    connect = forkserver.connect_to_new_process

    def connected(descriptors: Any) -> Any:
        status, data = connect(descriptors)
        if how == "half":
            os.write(data, bytes(dump[: len(dump) // 2]))
        elif how in ("told", "alive"):
            for name in mine:
                os.unlink(f"/dev/shm/{name}")
            os.write(data, bytes(dump))
        if how == "alive":
            os.read(status, 8)  # the worker's process id
            os.read(status, 8)  # how it ended
        end()

    dump = bytearray()
    dumped = reduction.dump

    def keep(what: Any, into: Any) -> None:
        dumped(what, into)
        dump[:] = into.getbuffer()

    module.reduction.dump = keep
    if how == "connected":
        module.reduction.sendfds = end
        forkserver.reduction.sendfds = end  # type: ignore[attr-defined]
    else:
        patched: Any = forkserver
        patched.connect_to_new_process = connected
    executor = ProcessPoolExecutor(1, context)
    # By our number: other tests run meanwhile, and theirs are in use.
    own = f"sem.obnam-{os.getpid()}-"
    mine = {name for name in os.listdir("/dev/shm") if name.startswith(own)}
    print(json.dumps(sorted(mine)), flush=True)
    executor.submit(os.getpid)


if __name__ == "__main__":
    main()
