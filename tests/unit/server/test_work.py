"""Threads for blocking calls, where the system gives few of them, or none."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import define
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import gatherResults

from obnam_server.work import NoThread, Work

reactor: Any = global_reactor


@define
class Limit:
    """So many more threads can be started."""

    left: int


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limit]:
    limit = Limit(1000)
    start: Callable[[threading.Thread], None] = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if not limit.left:
            raise RuntimeError("can't start new thread")
        limit.left -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    yield limit
    limit.left = 1000


@pytest.mark.parametrize("left", range(4))
def test_too_few_to_begin_with(limit: Limit, left: int) -> None:
    """It says so, and leaves none behind, for which the process would wait at its end."""
    before = threading.active_count()
    limit.left = left
    with pytest.raises(NoThread, match="ulimit -u"):
        Work(reactor).start()
    assert threading.active_count() == before


@ensureDeferred
async def test_with_one_each_all_is_done(limit: Limit) -> None:
    limit.left = 4
    work = Work(reactor)
    work.start()
    try:
        held, begun = threading.Event(), threading.Event()

        def hold() -> str:
            begun.set()
            held.wait()
            return "held"

        waiting = [work.read(hold)]
        begun.wait()
        waiting += [work.read(lambda: "read") for _ in range(10)]
        assert await work.write(lambda: "written") == "written"
        held.set()
        assert await gatherResults(waiting) == ["held", *["read"] * 10]
        await work.idle()
    finally:
        work.stop()
