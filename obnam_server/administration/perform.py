"""Running one operation: what changes something is in the audit log before it is done."""

from obnam.model.ids import RepositoryName
from obnam.wire.members import BadMessage, Json
from obnam_server.administration.operation import (
    Access,
    AnyOperation,
    Arguments,
    LongOperation,
    Operation,
)
from obnam_server.store.errors import StoreFull
from obnam_server.store.store import Store
from obnam_server.upkeep.pace import Pace
from obnam_server.work import Work


def perform(store: Store, operation: Operation, arguments: object, administrator: int) -> Json:
    """Do it, on a thread that ``operation.access`` allows; its answer.

    ``administrator``: the user id of who asks. Raises what the operation raises, and `BadMessage`
    for its arguments. `StoreFull`: there is no room for it, or for its line in the audit log, even
    with the reserve; nothing was done.
    """
    asked = _checked(arguments, administrator)
    try:
        return _performed(store, operation, asked)
    except StoreFull:
        if operation.access is not Access.CHANGE or not store.reserve.give_back():
            raise
    return _performed(store, operation, asked)


def _performed(store: Store, operation: Operation, asked: Arguments) -> Json:
    number = _begin(store, operation, asked)
    try:
        return operation.run(store, asked)
    except Exception as error:
        _not_done(store, number, asked, error)
        raise


async def perform_long(
    store: Store,
    operation: LongOperation,
    arguments: object,
    administrator: int,
    work: Work,
    pace: Pace,
) -> Json:
    """The same for one that takes its time; called where nothing may block."""
    asked = _checked(arguments, administrator)
    number = await work.write(_begin_long, store, operation, asked)
    try:
        return await operation.run(store, work, pace, asked)
    except Exception as error:
        await work.write(_not_done, store, number, asked, error)
        raise


def _checked(arguments: object, administrator: int) -> Arguments:
    if not isinstance(arguments, dict):
        raise BadMessage("the arguments must be a JSON object")
    return Arguments(arguments, administrator)


def _begin(store: Store, operation: AnyOperation, asked: Arguments) -> int | None:
    """Log what is about to be changed; the line's number, ``None``: nothing is."""
    if operation.access is not Access.CHANGE:
        return None
    return store.audit.record(
        operation.name,
        repository=_repository_in(asked),
        administrator=asked.administrator,
        details=asked.values,
    )


def _begin_long(store: Store, operation: LongOperation, asked: Arguments) -> int | None:
    """The same for what takes its time: beginning is what can be repeated."""
    try:
        return _begin(store, operation, asked)
    except StoreFull:
        if not store.reserve.give_back():
            raise
    return _begin(store, operation, asked)


def _not_done(store: Store, number: int | None, asked: Arguments, error: Exception) -> None:
    if number is not None:
        store.audit.note(
            "not-done",
            repository=_repository_in(asked),
            administrator=asked.administrator,
            details={"of": number, "error": type(error).__name__, "problem": str(error)},
        )


def _repository_in(asked: Arguments) -> RepositoryName | None:
    named = asked.values.get("repository")
    return RepositoryName(named) if isinstance(named, str) else None
