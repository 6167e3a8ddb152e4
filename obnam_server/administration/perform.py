"""Running one operation: what changes something is in the audit log before it is done."""

from collections.abc import Callable
from typing import TypeVar

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

AnOperation = TypeVar("AnOperation", bound=AnyOperation)
T = TypeVar("T")


def perform(store: Store, operation: Operation, arguments: object, administrator: int) -> Json:
    """Do it, on a thread that ``operation.access`` allows; its answer.

    ``administrator``: the user id of who asks. Raises what the operation raises, and `BadMessage`
    for its arguments. `StoreFull`: there is no room for it, or for its line in the audit log, even
    with the reserve; nothing was done.
    """
    return _with_reserve(_performed, store, operation, _checked(arguments, administrator))


def _with_reserve(
    call: Callable[[Store, AnOperation, Arguments], T],
    store: Store,
    operation: AnOperation,
    asked: Arguments,
) -> T:
    """``call``; when the disk is full, and it changes something, again with the reserve's room."""
    try:
        return call(store, operation, asked)
    except StoreFull:
        if operation.access is not Access.CHANGE or not store.reserve.give_back():
            raise
    return call(store, operation, asked)


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
    # Of what takes its time, beginning is what can be repeated.
    number = await work.write(_with_reserve, _begin, store, operation, asked)
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
