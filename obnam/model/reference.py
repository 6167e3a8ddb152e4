"""References: how a generation is named on the command line. Pure.

``latest``, ``latest~N``, an id or its unique prefix, ``@2026-11-01``, ``@2026-11-01T09:30``.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

from attrs import frozen

from obnam.errors import UnknownReference
from obnam.model.ids import ClientName, GenerationId

_LATEST = re.compile(r"latest(?:~([0-9]{1,6}))?")
_PREFIX = re.compile(r"[0-9a-f]{1,32}")
_DATE = "@%Y-%m-%d"
_MINUTE = "@%Y-%m-%dT%H:%M"


@frozen
class Candidate:
    """A committed generation, as far as references look at it.

    ``received_ns``: ns since the epoch, by the server's clock.
    """

    generation: GenerationId
    client: ClientName
    received_ns: int
    partial: bool


@frozen
class Latest:
    """The newest of the client's own, or the one so many before it."""

    back: int


@frozen
class Prefix:
    """The one whose id begins so, of any client."""

    digits: str


@frozen
class Before:
    """The newest of the client's own that was received before that time (ns since the epoch)."""

    end_ns: int


Reference = Latest | Prefix | Before


def parse(text: str, zone: tzinfo | None = None) -> Reference:
    """What a REF asks for. Raises `UnknownReference`.

    ``zone``: in which dates are meant; ``None``: that of this computer. A date without a time is
    the whole day, a time is the whole minute.
    """
    if found := _LATEST.fullmatch(text):
        return Latest(int(found[1] or 0))
    if _PREFIX.fullmatch(text):
        return Prefix(text)
    for layout, length in ((_DATE, timedelta(days=1)), (_MINUTE, timedelta(minutes=1))):
        try:
            start = datetime.strptime(text, layout)
            # The end is found by the clock on the wall: some days have 23 hours.
            end = (start + length).replace(tzinfo=zone)
            return Before(int(end.timestamp()) * 10**9)
        except (ValueError, OverflowError):
            continue
    raise UnknownReference(
        text,
        "is no reference; write latest, latest~1, an id or how it begins, @2026-11-01, "
        "or @2026-11-01T09:30",
    )


def resolve(
    text: str, candidates: Sequence[Candidate], client: ClientName, zone: tzinfo | None = None
) -> GenerationId:
    """The generation that a REF stands for, among ``candidates`` (oldest first).

    ``latest`` and dates look at complete generations of ``client`` only; an id finds any.
    Raises `UnknownReference`.
    """
    reference = parse(text, zone)
    if isinstance(reference, Prefix):
        return _by_prefix(text, reference.digits, candidates)
    own = [each for each in candidates if each.client == client]
    found = [each for each in own if not each.partial]
    if isinstance(reference, Before):
        found = [each for each in found if each.received_ns < reference.end_ns]
    back = reference.back if isinstance(reference, Latest) else 0
    if back < len(found):
        return found[-1 - back].generation
    if not own:
        problem = f"client {client} has no generation yet; run `obnam backup`"
        if candidates:
            problem += ", or name one of another client by its id, as `obnam list` shows it"
        raise UnknownReference(text, problem)
    if not found and not isinstance(reference, Before):
        raise UnknownReference(
            text,
            "there are only partial generations, of backups that did not end; run `obnam backup`, "
            "or name one of them by its id",
        )
    raise UnknownReference(text)


def _by_prefix(text: str, digits: str, candidates: Sequence[Candidate]) -> GenerationId:
    found = [each.generation for each in candidates if each.generation.startswith(digits)]
    if len(found) > 1:
        raise UnknownReference(text, f"{len(found)} generations begin so; give more digits")
    if not found:
        raise UnknownReference(text)
    return found[0]
