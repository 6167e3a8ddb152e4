"""Runs coroutines side by side; when one fails, the others are stopped."""

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

T = TypeVar("T")
U = TypeVar("U")


async def all_of(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. Raises the first failure, after all the others have ended too."""
    running = [Deferred.fromCoroutine(coroutine) for coroutine in coroutines]
    return await all_fired(running)


async def both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """The results of two, as `all_of`."""
    one, other = await all_of([first, second])
    return cast(T, one), cast(U, other)


async def all_fired(running: Sequence["Deferred[T]"]) -> list[T]:
    """The same for what runs already."""
    first: list[Failure] = []

    def stop_others(failure: Failure) -> Failure:
        if not first:
            first.append(failure)
            for other in running:
                other.cancel()
        return failure

    for deferred in running:
        deferred.addErrback(stop_others)
    ended = await DeferredList(running, consumeErrors=True)
    if first:
        first[0].raiseException()
    return [result for _, result in ended]


async def stop_all(running: Sequence["Deferred[Any]"]) -> None:
    """Cancel what runs, and wait until it has ended. Its failures are of no interest any more."""
    for deferred in running:
        deferred.cancel()
    await DeferredList(running, consumeErrors=True)
