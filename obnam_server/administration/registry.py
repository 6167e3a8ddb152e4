"""All operations, by name: the one list that the running server and the command go by.

To add one: a function ``(store, arguments) -> Json`` in a module here, a row in that module's
``OPERATIONS``, and the module's name below; and a command in `obnam_server.admin` that calls it.
"""

from collections.abc import Mapping

from obnam.errors import NotFound
from obnam_server.administration import clients, limits, repositories, whole
from obnam_server.administration.operation import Operation

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        *clients.OPERATIONS,
        *repositories.OPERATIONS,
        *limits.OPERATIONS,
        *whole.OPERATIONS,
    )
}


def find(name: str) -> Operation:
    """The operation of that name. `NotFound`."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise NotFound(f"an operation {name!r}")
    return operation
