"""Deciding over generations by hand: delete, undelete, pin, hold."""

from collections.abc import Sequence

from obnam.errors import NotFound, UsageError
from obnam.model.ids import GenerationId, parse_repository_name
from obnam.wire.members import Json
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.generations.decisions import KeptGeneration
from obnam_server.store.generations.register import Mark
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store


def repository_of(store: Store, arguments: Arguments) -> RepositoryStore:
    """The ``repository`` of an operation, opened. WRITER. `NotFound`."""
    return store.repository(arguments.parsed("repository", parse_repository_name))


def list_generations(store: Store, arguments: Arguments) -> Json:
    """Every generation of a ``repository`` and what was decided about it, oldest first."""
    repository = repository_of(store, arguments)
    register = repository.decisions.register()
    return {
        "generations": [_to_json(each) for each in repository.decisions.all()],
        "hold": _mark(register.hold),
        "alarms": {
            client: {"generation": alarm.generation, **alarm.mark.to_json()}
            for client, alarm in register.alarms.items()
        },
    }


def _to_json(each: KeptGeneration) -> Json:
    return {
        **each.summary.to_json(),
        "trashed": _mark(each.trashed),
        "pin": _mark(each.pin),
    }


def _mark(mark: Mark | None) -> Json | None:
    return None if mark is None else mark.to_json()


def delete(store: Store, arguments: Arguments) -> Json:
    """``generations`` of a ``repository`` into the trash, for a ``reason``."""
    repository, found = chosen_of(store, arguments)
    reason = arguments.text("reason")
    repository.change(repository.decisions.delete, found, arguments.by, reason)
    return {"deleted": found}


def undelete(store: Store, arguments: Arguments) -> Json:
    """``generations`` out of the trash."""
    repository, found = chosen_of(store, arguments)
    repository.change(repository.decisions.undelete, found)
    return {"undeleted": found}


def pin(store: Store, arguments: Arguments) -> Json:
    """Keep ``generations``, for a ``reason``, whatever the policy says."""
    repository, found = chosen_of(store, arguments)
    reason = arguments.text("reason")
    for generation in found:
        repository.change(repository.decisions.pin, generation, arguments.by, reason)
    return {"pinned": found}


def unpin(store: Store, arguments: Arguments) -> Json:
    """Let the policy decide over ``generations`` again."""
    repository, found = chosen_of(store, arguments)
    for generation in found:
        repository.change(repository.decisions.unpin, generation)
    return {"unpinned": found}


def hold(store: Store, arguments: Arguments) -> Json:
    """Nothing in a ``repository`` is deleted, for a ``reason``, until it is released."""
    repository = repository_of(store, arguments)
    repository.change(repository.decisions.hold, arguments.by, arguments.text("reason"))
    return {"held": repository.name}


def release(store: Store, arguments: Arguments) -> Json:
    """End the hold of a ``repository``."""
    repository = repository_of(store, arguments)
    repository.change(repository.decisions.release)
    return {"released": repository.name}


def chosen_of(store: Store, arguments: Arguments) -> tuple[RepositoryStore, list[GenerationId]]:
    """The repository, and the generations that are named, by their ids or how those begin."""
    repository = repository_of(store, arguments)
    known = [each.summary.receipt.generation for each in repository.decisions.all()]
    named = arguments.texts("generations")
    return repository, [_one_of(known, text) for text in named]


def _one_of(known: Sequence[GenerationId], text: str) -> GenerationId:
    found = [generation for generation in known if text and generation.startswith(text)]
    if not found:
        where = "`obnam-server generation list` shows all there are"
        raise NotFound(f"generation {text!r}; {where}")
    if len(found) > 1:
        raise UsageError(f"{len(found)} generations begin with {text!r}; write more of the id")
    return found[0]


OPERATIONS = (
    Operation("generation-list", list_generations, Access.OPEN),
    Operation("generation-delete", delete, Access.CHANGE),
    Operation("generation-undelete", undelete, Access.CHANGE),
    Operation("generation-pin", pin, Access.CHANGE),
    Operation("generation-unpin", unpin, Access.CHANGE),
    Operation("repository-hold", hold, Access.CHANGE),
    Operation("repository-release", release, Access.CHANGE),
)
