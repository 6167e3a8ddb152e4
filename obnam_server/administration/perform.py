"""Running one operation."""

from obnam.wire.members import BadMessage, Json
from obnam_server.administration.operation import Arguments, Operation
from obnam_server.store.store import Store


def perform(store: Store, operation: Operation, arguments: object, administrator: int) -> Json:
    """Do it, on a thread that ``operation.access`` allows; its answer.

    ``administrator``: the user id of who asks. Raises what the operation raises, and `BadMessage`
    for its arguments.
    """
    if not isinstance(arguments, dict):
        raise BadMessage("the arguments must be a JSON object")
    return operation.run(store, Arguments(arguments, administrator))
