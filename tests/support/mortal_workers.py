"""``obnam``, one of whose worker processes gets a signal at a chosen job.

Run as ``python mortal_workers.py FATE ARGUMENTS``. The fate is ``JOB COUNT SIGNAL WHEN``, such as
``write_part 2 SIGKILL after``: the worker that does the second such job gets the signal right
``before`` or ``after`` it does that, or ``amid`` the first small file it writes. All jobs are done
by workers, from the first on.
"""

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from obnam.pool.worker import Tools


def doomed(
    tools: Tools, number: signal.Signals, when: str, job: Callable[..., Any], *arguments: object
) -> Any:
    """Do a job, with a signal before, after, or in the middle of it."""
    write = os.pwrite

    def write_half(descriptor: int, data: bytes, offset: int) -> int:
        write(descriptor, data[: len(data) // 2], offset)
        os.kill(os.getpid(), number)
        return len(data)

    if when == "amid":
        os.pwrite = write_half  # type: ignore[assignment]
    if when == "before":
        os.kill(os.getpid(), number)
    result = job(tools, *arguments)
    if when == "after":
        os.kill(os.getpid(), number)
    return result


def main() -> None:
    """Be ``obnam``, with other pools."""
    from obnam.cli.main import main
    from obnam.pool.growing import GrowingPool
    from obnam.pool.pool import ProcessPool

    name, count, number, when = sys.argv.pop(1).split()
    counts: Counter[str] = Counter()
    run = ProcessPool.run
    start = GrowingPool.__init__

    def run_doomed(self: ProcessPool, job: Callable[..., Any], *arguments: object) -> Any:
        counts[job.__name__] += 1
        if job.__name__ == name and counts[name] == int(count):
            return run(self, doomed, signal.Signals[number], when, job, *arguments)
        return run(self, job, *arguments)

    def begin_grown(self: GrowingPool, *arguments: Any) -> None:
        start(self, *arguments)
        self.start()

    ProcessPool.run = run_doomed  # type: ignore[method-assign]
    GrowingPool.__init__ = begin_grown  # type: ignore[method-assign, assignment]
    main()


if __name__ == "__main__":
    main()
