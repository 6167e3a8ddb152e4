"""All operations, by name: the one list that the running server and the command go by.

To add one: a function ``(store, arguments) -> Json`` in a module here, a row in that module's
``OPERATIONS``, and the module's name below; and a command in `obnam_server.admin` that calls it.
"""

from collections.abc import Mapping

from obnam.errors import NotFound
from obnam_server.administration import (
    clients,
    generations,
    limits,
    repositories,
    retention,
    upkeep,
    whole,
)
from obnam_server.administration.operation import AnyOperation

OPERATIONS: Mapping[str, AnyOperation] = {
    operation.name: operation
    for operation in (
        *clients.OPERATIONS,
        *generations.OPERATIONS,
        *repositories.OPERATIONS,
        *retention.OPERATIONS,
        *upkeep.OPERATIONS,
        *limits.OPERATIONS,
        *whole.OPERATIONS,
    )
}


def find(name: str) -> AnyOperation:
    """The operation of that name. `NotFound`."""
    operation = OPERATIONS.get(name)
    if operation is None:
        raise NotFound(f"an operation {name!r}")
    return operation
