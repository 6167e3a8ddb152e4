"""A pool without processes: jobs are done at once, in this one, with the same tools."""

from collections.abc import Callable
from typing import TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from obnam.crypto.envelope import Compression
from obnam.crypto.keys import RepositoryKeys
from obnam.crypto.seal import Suite, best_suite
from obnam.pool.pool import IPool
from obnam.pool.worker import Tools

T = TypeVar("T")


def tools_of(keys: RepositoryKeys, suite: Suite | None = None) -> Tools:
    """What a worker would have."""
    return Tools(keys, best_suite() if suite is None else suite, Compression(1))


@implementer(IPool)
@define
class InlinePool:
    """`IPool` that counts its jobs by name. ``before`` sees name and arguments of each first."""

    tools: Tools
    before: Callable[[str, tuple[object, ...]], None] = field(default=lambda name, arguments: None)
    jobs: list[str] = field(factory=list)
    closed: bool = False

    def run(self, job: Callable[..., T], *arguments: object) -> "Deferred[T]":
        """See `IPool`."""
        try:
            self.before(job.__name__, arguments)
            self.jobs.append(job.__name__)
            return succeed(job(self.tools, *arguments))
        except Exception as error:
            return fail(error)

    def settled(self) -> "Deferred[None]":
        """See `IPool`."""
        return succeed(None)

    def rest(self) -> None:
        """See `IPool`."""

    def close(self) -> None:
        """See `IPool`."""
        self.closed = True
