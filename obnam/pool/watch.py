"""Sees to it that the death of a worker is noticed, which the executor does not in all cases.

It looks whom to watch when there is something to do, and then may start another worker: were that
killed in its first job, nobody would notice until there is something to do again. And of a worker
that is killed in the middle of its answer, it waits for the rest of that for ever, since the pipe
is still open: in the other workers, and in its own hands.

What must be known for this has no public name in Python. Where it is named otherwise one day,
workers die unnoticed in these cases, as they do without it.
"""

import os
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from attrs import define, field

from obnam.pool import worker

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.process import BaseProcess

NOTICE_S = 1.0
"""How long the executor, and a busy reactor behind it, may take to notice by themselves."""


@define(eq=False)
class Watch:
    """Watches the workers of an executor, of which there are ``workers`` at most."""

    _executor: "ProcessPoolExecutor"
    _workers: int
    _known: "dict[int, BaseProcess]" = field(init=False, factory=dict)
    _is_over: Event = field(init=False, factory=Event)
    _lock: Lock = field(init=False, factory=Lock)

    def look(self) -> None:
        """To be called when a job was submitted, and so may have started a worker."""
        while len(self._known) < self._workers:
            there: dict[int, BaseProcess] = getattr(self._executor, "_processes", None) or {}
            started = {pid: there[pid] for pid in there.keys() - self._known.keys()}
            if not started:
                return
            self._known |= started
            for process in started.values():
                Thread(target=self._wait, args=(process,), name="watch", daemon=True).start()
            # It looks up, and sees whom it has started.
            self._executor.submit(worker.nothing_at_all)

    def stop(self) -> None:
        """From now on workers end, and that is well. To be called before the executor is ended."""
        with self._lock:
            self._is_over.set()

    def kill(self) -> None:
        """Kill all workers."""
        for process in self._known.values():
            process.kill()

    def give_up_answers(self) -> None:
        """Let the executor know that no answer is coming any more. For when it does not end."""
        queue: Any = getattr(self._executor, "_result_queue", None)
        answers = getattr(queue, "_writer", None)
        if answers is not None and not answers.closed:
            # Not closed: whose it is closes it, and by then the number may be another file's.
            nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nothing, answers.fileno(), inheritable=False)
            os.close(nothing)

    def _wait(self, process: "BaseProcess") -> None:
        process.join()
        if self._is_over.wait(NOTICE_S):
            return
        self.kill()
        if self._is_over.wait(NOTICE_S):
            return
        with self._lock:
            if not self._is_over.is_set():
                self.give_up_answers()
