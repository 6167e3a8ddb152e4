"""Running one operation: what changes something is in the audit log before it is done."""

from obnam.model.ids import RepositoryName
from obnam.wire.members import BadMessage, Json
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.store import Store


def perform(store: Store, operation: Operation, arguments: object, administrator: int) -> Json:
    """Do it, on a thread that ``operation.access`` allows; its answer.

    ``administrator``: the user id of who asks. Raises what the operation raises, and `BadMessage`
    for its arguments. `StoreFull`: there is no room for a line in the audit log; nothing was done.
    """
    if not isinstance(arguments, dict):
        raise BadMessage("the arguments must be a JSON object")
    asked = Arguments(arguments, administrator)
    if operation.access is not Access.CHANGE:
        return operation.run(store, asked)
    named = arguments.get("repository")
    repository = RepositoryName(named) if isinstance(named, str) else None
    number = store.audit.record(
        operation.name, repository=repository, administrator=administrator, details=arguments
    )
    try:
        return operation.run(store, asked)
    except Exception as error:
        failed = {"of": number, "error": type(error).__name__, "problem": str(error)}
        store.audit.note(
            "not-done", repository=repository, administrator=administrator, details=failed
        )
        raise
