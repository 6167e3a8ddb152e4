"""A pool whose jobs are done when the test says so, whether somebody waits for them or not."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred

from obnam.pool.under_way import UnderWay
from obnam.pool.worker import Tools
from tests.support.inline_pool import InlinePool

T = TypeVar("T")


@define
class LatePool(InlinePool):
    """Holds jobs of the kinds ``held``; ``all_held`` fires when there is one of each kind."""

    reactor: Any = None
    held: set[str] = field(factory=set)
    all_held: "Deferred[None]" = field(factory=Deferred)
    _begun: dict[str, tuple[Deferred[Any], Callable[[], Any]]] = field(factory=dict)
    _under_way: UnderWay = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._under_way = UnderWay(self.reactor)

    @classmethod
    def of(cls, reactor: Any, tools: Tools, *held: str) -> "LatePool":
        """One that holds a job of each of these kinds."""
        return cls(tools, reactor=reactor, held=set(held))

    def run(self, job: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """See `IPool`."""
        if job.__name__ not in self.held or job.__name__ in self._begun:
            return InlinePool.run(self, job, *arguments)
        fired: Deferred[T] = Deferred()
        self._begun[job.__name__] = fired, partial(job, self.tools, *arguments)
        self._under_way.begin()
        if set(self._begun) == self.held:
            # Later: whoever runs this job is to wait for it by then.
            self.reactor.callLater(0, self.all_held.callback, None)
        return fired

    def settled(self) -> "Deferred[None]":
        """See `IPool`."""
        return self._under_way.settled()

    def fail(self, job: str, error: Exception) -> None:
        """Let the job of this kind fail."""
        fired, _ = self._begun[job]
        self._under_way.end()
        fired.errback(error)

    def finish(self, job: str) -> Any:
        """Do the job of this kind; its result."""
        fired, do = self._begun[job]
        result = do()
        if not fired.called:
            fired.callback(result)
        self._under_way.end()
        return result
