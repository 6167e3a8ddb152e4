"""Coroutines side by side: results in order, and the first failure stops the others."""

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from obnam.pool.together import all_fired, all_of, stop_all

ensure = pytest_twisted.ensureDeferred


class Broken(Exception):
    pass


@ensure
async def test_results_come_in_order() -> None:
    late: Deferred[int] = Deferred()

    async def first() -> int:
        return await late

    async def second() -> int:
        late.callback(1)
        return 2

    assert await all_of([first(), second()]) == [1, 2]
    assert await all_of([]) == []


@ensure
async def test_the_first_failure_stops_the_others_and_waits_for_them() -> None:
    ended: list[str] = []
    never: Deferred[None] = Deferred()
    slow: Deferred[None] = Deferred(lambda d: None)
    trouble: Deferred[None] = Deferred()

    async def waits(what: Deferred[None], name: str) -> None:
        try:
            await what
        except CancelledError:
            ended.append(name)
            raise

    async def breaks() -> None:
        await trouble
        raise Broken

    running = Deferred.fromCoroutine(all_of([waits(never, "never"), breaks(), waits(slow, "slow")]))
    trouble.callback(None)
    assert sorted(ended) == ["never", "slow"]
    with pytest.raises(Broken):
        await running


@ensure
async def test_the_others_end_before_the_failure_is_told() -> None:
    tidied: Deferred[None] = Deferred()

    async def tidies() -> None:
        try:
            await Deferred()
        finally:
            await tidied

    async def breaks() -> None:
        raise Broken

    running = Deferred.fromCoroutine(all_of([tidies(), breaks()]))
    told: list[object] = []
    running.addBoth(told.append)
    assert told == []
    tidied.callback(None)
    (failure,) = told
    assert failure.check(Broken)  # type: ignore[attr-defined]


@ensure
async def test_of_several_failures_the_first_is_told() -> None:
    async def breaks(what: type[Exception]) -> None:
        raise what

    with pytest.raises(Broken):
        await all_of([breaks(Broken), breaks(ValueError)])


@ensure
async def test_what_runs_already() -> None:
    assert await all_fired([succeed(1), succeed(2)]) == [1, 2]
    with pytest.raises(Broken):
        await all_fired([succeed(1), fail(Broken())])


@ensure
async def test_stopping() -> None:
    await stop_all([])
    await stop_all([succeed(1), fail(Broken()), Deferred()])
