"""Bodies are ``async def``, interfaces return Deferreds: the step between the two."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

P = ParamSpec("P")
T = TypeVar("T")


def returns_deferred(
    function: Callable[P, Coroutine[Deferred[Any], Any, T]],
) -> "Callable[P, Deferred[T]]":
    """Decorate an ``async def`` so that calling it starts it and gives a Deferred.

    Cancelling that Deferred cancels the one that the body is waiting for.
    """

    @wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        return Deferred.fromCoroutine(function(*args, **kwargs))

    return start
