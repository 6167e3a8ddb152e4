"""One thread: in order, always the same, and nothing of a call is kept behind it."""

import gc
import threading
import weakref
from typing import Any

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor

from obnam.pool.thread import OwnThread

ensure = pytest_twisted.ensureDeferred
reactor: Any = global_reactor


class Thing:
    """Something that can be seen to go."""


@ensure
async def test_calls_run_one_after_another_on_one_thread() -> None:
    thread = OwnThread(reactor, "test")
    done: list[tuple[int, int]] = []

    def work(number: int) -> int:
        done.append((number, threading.get_ident()))
        return number

    calls = [thread.call(work, number) for number in range(20)]
    assert [await call for call in calls] == list(range(20))
    assert [number for number, _ in done] == list(range(20))
    (ident,) = {ident for _, ident in done}
    assert ident != threading.get_ident()
    thread.close()


@ensure
async def test_what_is_raised_comes_back_and_the_next_call_runs() -> None:
    thread = OwnThread(reactor, "test")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await thread.call(fail)
    assert await thread.call(int, "7") == 7
    thread.close()


@ensure
async def test_what_it_tells_is_told_on_the_reactors_thread_before_it_ends() -> None:
    thread, told = OwnThread(reactor, "test"), list[tuple[int, int]]()

    def work() -> None:
        for number in range(3):
            thread.tell(lambda each: told.append((each, threading.get_ident())), number)

    await thread.call(work)
    assert told == [(number, threading.get_ident()) for number in range(3)]
    thread.close()


@ensure
async def test_what_a_call_was_given_is_let_go() -> None:
    thread = OwnThread(reactor, "test")
    thing = Thing()
    gone = weakref.ref(thing)
    assert await thread.call(lambda given: given is not None, thing)
    del thing
    await thread.call(gc.collect)
    assert gone() is None
    thread.close()


@ensure
async def test_closing_waits_for_what_was_called_before() -> None:
    thread = OwnThread(reactor, "test")
    may_go = threading.Event()
    done: list[int] = []
    first = thread.call(may_go.wait)
    last = thread.call(done.append, 1)
    may_go.set()
    thread.close()
    assert done == [1]
    late = thread.call(done.append, 2)
    await first
    await last
    assert done == [1]
    assert not late.called
