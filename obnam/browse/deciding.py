"""Deciding what becomes of generations: into the trash and out of it, pinned or not.

The server has the last word. What it would refuse is looked for here before anything is done, so
that of several generations all go, or none.
"""

from collections.abc import Iterable, Sequence

from attrs import evolve, frozen

from obnam.browse.catalogue import Catalogue
from obnam.errors import AccessDenied, GenerationKept, ObnamError, UnknownReference
from obnam.model.ids import ClientName, GenerationId
from obnam.model.reference import Prefix, parse
from obnam.progress import IProgress
from obnam.wire.interfaces import IRepository
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import RepositoryDescription


@frozen
class Decided:
    """Generations: those to which something was done, and those that were so already."""

    done: Sequence[ListedGeneration]
    already: Sequence[ListedGeneration] = ()


async def forget(
    repository: IRepository,
    catalogue: Catalogue,
    references: Sequence[str],
    progress: IProgress,
    *,
    dry_run: bool = False,
) -> Decided:
    """Put generations into the trash: all of them, or, when one of them is kept, none.

    Raises `UnknownReference`, `GenerationKept`, `AccessDenied`. When the server fails in between,
    a warning says what is in the trash then; repeating the command with ids goes on from there.
    """
    check_may_decide(catalogue.description)
    trash = await repository.list_trash()
    # What an id named once must not, named again, be taken for the beginning of another one's.
    everything = _with_trash(catalogue, trash)
    chosen = _once(
        (everything if isinstance(parse(text), Prefix) else catalogue).find(text)
        for text in references
    )
    going = [each for each in chosen if each.trashed_ns is None]
    already = [each for each in chosen if each.trashed_ns is not None]
    for each in going:
        reason = why_kept(each, catalogue.listed)
        if reason is not None:
            raise GenerationKept(f"generation {each.generation}", reason)
    if dry_run or not going:
        return Decided(going, already)
    for number, each in enumerate(going):
        try:
            await repository.delete_generation(each.generation)
        except ObnamError:
            for gone in going[:number]:
                progress.warn(f"generation {gone.generation} is in the trash")
            raise
    now = {each.generation: each for each in await repository.list_trash()}
    return Decided([now.get(each.generation, each) for each in going], already)


async def undelete(repository: IRepository, catalogue: Catalogue, ids: Sequence[str]) -> Decided:
    """Take generations out of the trash, by their ids or how these begin.

    Raises `UnknownReference`, also for what is no id, and `AccessDenied`.
    """
    check_may_decide(catalogue.description)
    for text in ids:
        if not isinstance(parse(text), Prefix):
            problem = "write its id, or how that begins; `obnam list --trash` shows it"
            raise UnknownReference(text, problem)
    everything = _with_trash(catalogue, await repository.list_trash())
    chosen = _once(map(everything.find, ids))
    for each in chosen:
        await repository.undelete_generation(each.generation)
    return Decided(
        [evolve(e, trashed_ns=None, until_ns=None) for e in chosen if e.trashed_ns is not None],
        [each for each in chosen if each.trashed_ns is None],
    )


async def pin(
    repository: IRepository, catalogue: Catalogue, reference: str, reason: str
) -> ListedGeneration:
    """Let nothing delete a generation until it is unpinned.

    Raises `UnknownReference`, `AccessDenied`, `GenerationKept` (it went into the trash meanwhile).
    """
    check_may_decide(catalogue.description)
    found = catalogue.find(reference)
    await repository.pin_generation(found.generation, reason)
    return evolve(found, pinned=reason)


async def unpin(repository: IRepository, catalogue: Catalogue, reference: str) -> ListedGeneration:
    """Let a generation be deleted again. Raises `UnknownReference`, `AccessDenied`."""
    check_may_decide(catalogue.description)
    found = catalogue.find(reference)
    await repository.unpin_generation(found.generation)
    return evolve(found, pinned=None)


def check_may_decide(description: RepositoryDescription) -> None:
    """Raises `AccessDenied`, with what its administrator can do, without the scope ``manage``."""
    if "manage" not in description.scopes:
        raise AccessDenied(
            "the server",
            f"the token of {description.client} may not delete, undelete or pin generations. Ask "
            f"the administrator to invite a computer that may: `obnam-server client add NAME "
            f"--repository {description.repository} --scope restore --scope manage`",
        )


def why_kept(wanted: ListedGeneration, listed: Iterable[ListedGeneration]) -> str | None:
    """Why a generation cannot be deleted, as far as the list (oldest first) tells. Pure.

    The server knows more: a legal hold is not in the list.
    """
    if wanted.pinned is not None:
        return f"it is pinned ({wanted.pinned}); unpin it first"
    newest: dict[tuple[ClientName, bool], GenerationId] = {}
    for each in listed:
        newest[each.summary.client, True] = each.generation
        newest[each.summary.client, each.summary.partial] = each.generation
    if wanted.generation in newest.values():
        return "it is the newest of its client, whose next backup begins from it"
    return None


def _with_trash(catalogue: Catalogue, trash: Sequence[ListedGeneration]) -> Catalogue:
    together = sorted((*catalogue.listed, *trash), key=lambda each: each.summary.receipt.sequence)
    return evolve(catalogue, listed=together)


def _once(chosen: Iterable[ListedGeneration]) -> list[ListedGeneration]:
    return list({each.generation: each for each in chosen}.values())
