"""Long operations by a command that has the store to itself: without reactor, threads or pauses."""

from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from obnam.wire.members import Json
from obnam_server.administration.operation import LongOperation
from obnam_server.administration.perform import perform_long
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work


def perform_alone(
    store: Store, operation: LongOperation, arguments: object, administrator: int
) -> Json:
    """Do it, as fast as it goes; its answer. Raises what the operation raises."""
    work = Work(None)
    # Nobody is disturbed, so there are no pauses, and the clock is never asked for one.
    pace = Pace(Clock(), inf, lambda: False)
    found: list[Json | Failure] = []
    steps = perform_long(store, operation, arguments, administrator, work, pace)
    Deferred.fromCoroutine(steps).addBoth(found.append)
    (answer,) = found
    if isinstance(answer, Failure):
        answer.raiseException()
    return answer
