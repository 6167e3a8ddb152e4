"""Another time, and an end of upkeep, for the processes of a test: by environment variables.

Python imports this by itself where the folder is in ``PYTHONPATH``.

- ``OBNAM_TEST_AHEAD_S``: the clock is ahead by so many seconds.
- ``OBNAM_TEST_UPKEEP``: ``hang``: the upkeep of an embedded server does not come to an end; a
  number: the server kills itself at that step of it, as a power switch does. A step is an operation
  on a file, or a transaction of an index, before and after.
"""

import os
import signal
import sys
import threading
import time
from itertools import count
from typing import Any

ahead_ns = int(os.environ.get("OBNAM_TEST_AHEAD_S", "0")) * 1_000_000_000
real_time_ns = time.time_ns

if ahead_ns:
    time.time_ns = lambda: real_time_ns() + ahead_ns
    time.time = lambda: time.time_ns() / 1e9

end_of_upkeep = os.environ.get("OBNAM_TEST_UPKEEP", "")


def hang() -> None:
    """Upkeep waits for ever."""
    from twisted.internet.defer import Deferred

    from obnam_server.upkeep.brief import BriefUpkeep

    async def for_ever(self: Any, done: Any, at_once: bool) -> None:
        await Deferred()

    BriefUpkeep._all = for_ever  # type: ignore[method-assign]


def die_at(last: int) -> None:
    """This process kills itself at the step of this number, from 1 on."""
    from obnam_server.store.disk.database import Database
    from obnam_server.store.disk.files import LocalFiles
    from obnam_server.upkeep.brief import BriefUpkeep

    steps = count(1)
    began = threading.Event()

    def step() -> None:
        if began.is_set() and next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(owner: Any, method: str) -> None:
        original = getattr(owner, method)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            step()
            result = original(*arguments, **named)
            step()
            return result

        setattr(owner, method, wrapped)

    for operation in ("create", "append", "sync", "rename", "remove", "sync_directory"):
        around(LocalFiles, operation)
    around(Database, "_commit")
    run = BriefUpkeep.run

    async def begun(self: Any, asked: Any) -> Any:
        began.set()
        return await run(self, asked)

    BriefUpkeep.run = begun  # type: ignore[method-assign]


if end_of_upkeep and any("obnam_server.embedded" in each for each in sys.orig_argv):
    if end_of_upkeep == "hang":
        hang()
    else:
        die_at(int(end_of_upkeep))
