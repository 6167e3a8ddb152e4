"""The register: what was decided about generations, apart from their being made.

Trash, pins, the hold, alarms, and which generations are gone for good. Like the keyring it is one
small document in a segment of its own, replaced as a whole; the highest version counts. So what
was decided survives the loss of the index, and a rebuild brings nothing back that is gone.
See ``docs/format/segment.md``.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from pyroaring import BitMap64

from obnam.model.ids import ClientName, GenerationId, parse_client_name, parse_generation_id
from obnam_server.store.errors import DamagedSegment
from obnam_server.store.seams.index import IIndex
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.segments.format import Entry, SegmentKind, name_of, part_id
from obnam_server.store.segments.numbers import Numbers
from obnam_server.store.segments.parts import RepositoryHome, known_or_gone, read_entry, write_parts

REGISTER = part_id("register")


@frozen
class Mark:
    """One decision: when (ns since the epoch), by whom, and why."""

    at_ns: int
    by: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"at_ns": self.at_ns, "by": self.by, "reason": self.reason}


@frozen
class Alarm:
    """Something about a generation that its client's own history makes unlikely."""

    generation: GenerationId
    mark: Mark


@frozen
class Register:
    """All decisions that hold. ``expunged``: sequence numbers of generations gone for good.

    ``policy``: the retention policy as JSON, ``None``: everything is kept.
    """

    trash: Mapping[GenerationId, Mark] = field(factory=dict)
    pins: Mapping[GenerationId, Mark] = field(factory=dict)
    hold: Mark | None = None
    alarms: Mapping[ClientName, Alarm] = field(factory=dict)
    expunged: BitMap64 = field(factory=BitMap64)
    policy: Mapping[str, Any] | None = None
    version: int = 0

    def encode(self) -> bytes:
        """As it stands in its segment."""
        document = {
            "version": self.version,
            "trash": {key: mark.to_json() for key, mark in self.trash.items()},
            "pins": {key: mark.to_json() for key, mark in self.pins.items()},
            "hold": None if self.hold is None else self.hold.to_json(),
            "alarms": {
                client: {"generation": alarm.generation, **alarm.mark.to_json()}
                for client, alarm in self.alarms.items()
            },
            "policy": self.policy,
            "expunged": base64.b64encode(self.expunged.serialize()).decode("ascii"),
        }
        return json.dumps(document, sort_keys=True).encode("ascii")

    @classmethod
    def decode(cls, content: bytes) -> "Register":
        """What `encode` made. ``ValueError`` for anything else."""
        try:
            document = json.loads(content)
            hold = document["hold"]
            return cls(
                trash=_marks(document["trash"]),
                pins=_marks(document["pins"]),
                hold=None if hold is None else _mark(hold),
                alarms={
                    parse_client_name(client): Alarm(
                        parse_generation_id(alarm["generation"]), _mark(alarm)
                    )
                    for client, alarm in document["alarms"].items()
                },
                expunged=BitMap64.deserialize(base64.b64decode(document["expunged"])),
                policy=None if document["policy"] is None else dict(document["policy"]),
                version=int(document["version"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a register ({error!r})") from error


def _mark(document: Mapping[str, Any]) -> Mark:
    return Mark(int(document["at_ns"]), str(document["by"]), str(document["reason"]))


def _marks(document: Mapping[str, Any]) -> dict[GenerationId, Mark]:
    return {parse_generation_id(key): _mark(mark) for key, mark in document.items()}


@define(eq=False)
class RegisterStore:
    """The register of one repository."""

    _home: RepositoryHome
    _index: IIndex
    _numbers: Numbers
    _decoded: tuple[bytes, Register] = field(init=False, factory=lambda: (b"", Register()))

    def get(self) -> Register:
        """What holds now. Any thread."""
        found = self._index.get_register()
        if found is None:
            return Register()
        content, register = self._decoded
        if content != found[1]:
            # With a large trash this takes long; and it is asked for several times in a row.
            register = Register.decode(found[1])
            self._decoded = found[1], register
        return register

    def put(self, changed: Register, now_ns: int) -> Register:
        """WRITER. Let ``changed`` hold, in the index too: it goes by what the register says.

        Segments of generations that are expunged by it are deleted. `StoreFull`, `StoreFailed`.
        """
        register = evolve(changed, version=self.get().version + 1)
        content = register.encode()
        written = write_parts(
            self._home,
            SegmentKind.REGISTER,
            self._numbers.new_segment(),
            now_ns,
            {REGISTER: content},
        )
        segment = written.summary.segment
        with known_or_gone(written), self._index.transaction(durable=True):
            self._index.put_segment(written.summary, SegmentKind.REGISTER, now_ns)
            gone = enter(self._index, register, segment, content)
            self._index.put_next_numbers(*self._numbers.next_numbers())
        self._home.segments.delete(self._home.name, gone)
        return register


def enter(
    index: IIndex, register: Register, segment: SegmentNumber, content: bytes
) -> Sequence[SegmentNumber]:
    """Within a transaction: let the index go by ``register``, which lies in ``segment``.

    The segments that are not needed any more, and that the index has forgotten.
    """
    before = index.get_register()
    gone = index.remove_generations(register.expunged)
    index.put_trash({generation: mark.at_ns for generation, mark in register.trash.items()})
    index.put_register(segment, register.version, content)
    if before is not None:
        gone.append(before[0])
    for each in gone:
        index.forget_segment(each)
    return gone


def read_register(
    home: RepositoryHome, segment: SegmentNumber, entries: Sequence[Entry]
) -> tuple[Register, bytes]:
    """The register in a segment, and its content as it stands there. `DamagedSegment`."""
    for entry in entries:
        if entry.chunk_id == REGISTER:
            content = read_entry(home, segment, entry)
            try:
                return Register.decode(content), content
            except ValueError as error:
                raise DamagedSegment(name_of(segment), f"is no register ({error})") from error
    raise DamagedSegment(name_of(segment), "is no register")
