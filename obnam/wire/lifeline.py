"""What a client and the server that it started for itself say on the line between them.

The server says that it is ready. The client may lend memory (`obnam.wire.lent`): its descriptor
comes with a line of its own, and the server says whether it takes it. Once, and as the last thing,
the client may ask for upkeep, and is told what came of it. All of these are lines, answered in
their order; the end of the line ends the server. Both are of one version.
"""

import json

from attrs import frozen

from obnam.wire.members import BadMessage, Json, flag, member, number

READY = b"ready"
"""The server's first line."""

LINE_MAX = 131_072
"""Bytes of a line. What the server says fits into the buffer of a socket, so it never waits."""

UPKEEP_S_MAX = 24 * 3600
"""Upkeep for longer than this (seconds) is no end of a command."""

LENT_NUMBER_MAX = 999_999_999
"""The highest number of memory that is lent."""

LINES_MAX = 10
LINE_CHARACTERS_MAX = 500
"""Of warnings and of remarks: so many of so many characters, 12 bytes each at most in JSON."""


@frozen
class Lending:
    """Here is memory. ``number``: what it will be called."""

    number: int

    def to_line(self) -> bytes:
        """As a line, with its end."""
        return _line({"lend": self.number})


@frozen
class LendingAnswer:
    """Whether bodies may lie there."""

    is_taken: bool

    def to_line(self) -> bytes:
        """As a line, with its end."""
        return _line({"taken": self.is_taken})

    @classmethod
    def from_line(cls, line: bytes) -> "LendingAnswer":
        """From a line without its end. `BadMessage`."""
        return cls(flag(_read(line), "taken"))


@frozen
class UpkeepAsked:
    """Do what is due. ``limit_s``: for so long at most; ``at_once``: as if all of it were due."""

    limit_s: int
    at_once: bool = False

    def to_line(self) -> bytes:
        """As a line, with its end."""
        return _line({"limit_s": self.limit_s, "at_once": self.at_once})

    @classmethod
    def from_line(cls, line: bytes) -> "UpkeepAsked":
        """From a line without its end. `BadMessage`."""
        data = _read(line)
        return cls(number(data, "limit_s", 0, UPKEEP_S_MAX), flag(data, "at_once"))


def read_asked(line: bytes) -> Lending | UpkeepAsked:
    """What the client says, from a line without its end. `BadMessage`."""
    data = _read(line)
    if isinstance(data, dict) and "lend" in data:
        return Lending(number(data, "lend", 0, LENT_NUMBER_MAX))
    return UpkeepAsked.from_line(line)


@frozen
class Upkeep:
    """What was done. ``trashed`` and ``expunged`` are generations, ``damaged`` chunks.

    ``left_off``: the time was up; ``warnings``: what failed, or wants somebody to look, a line
    each; ``remarks``: what may be of interest.
    """

    trashed: int = 0
    expunged: int = 0
    freed_bytes: int = 0
    read_bytes: int = 0
    damaged: int = 0
    left_off: bool = False
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> Json:
        """As JSON. Of warnings and remarks, the first ones."""
        return {
            "trashed": self.trashed,
            "expunged": self.expunged,
            "freed_bytes": self.freed_bytes,
            "read_bytes": self.read_bytes,
            "damaged": self.damaged,
            "left_off": self.left_off,
            "warnings": [each[:LINE_CHARACTERS_MAX] for each in self.warnings[:LINES_MAX]],
            "remarks": [each[:LINE_CHARACTERS_MAX] for each in self.remarks[:LINES_MAX]],
        }

    def to_line(self) -> bytes:
        """As a line, with its end."""
        return _line(self.to_json())

    @classmethod
    def from_line(cls, line: bytes) -> "Upkeep":
        """From a line without its end. `BadMessage`."""
        data = _read(line)
        return cls(
            number(data, "trashed"),
            number(data, "expunged"),
            number(data, "freed_bytes"),
            number(data, "read_bytes"),
            number(data, "damaged"),
            flag(data, "left_off"),
            _texts(data, "warnings"),
            _texts(data, "remarks"),
        )


def _line(value: Json) -> bytes:
    return json.dumps(value).encode("ascii") + b"\n"


def _read(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadMessage("not JSON") from error


def _texts(data: object, name: str) -> tuple[str, ...]:
    found = member(data, name)
    if not isinstance(found, list) or len(found) > LINES_MAX:
        raise BadMessage(f"{name!r} must be a list of at most {LINES_MAX}")
    if not all(isinstance(each, str) and len(each) <= LINE_CHARACTERS_MAX for each in found):
        raise BadMessage(f"{name!r}: texts of at most {LINE_CHARACTERS_MAX} characters")
    return tuple(found)
