"""Deciding over generations: trash, pins, hold, alarms. All of it is in the register.

A generation goes in two steps: into the trash, where it is not listed and can be had back, and
from there, for good. Its chunks are kept until the second. Here are the rules that nobody is
above: what is pinned or held stays, and so do a client's newest generations, which its next
backup begins from.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from pyroaring import BitMap64

from obnam.errors import NotFound
from obnam.model.ids import ClientName, GenerationId
from obnam.wire.limits import PIN_REASON_MAX
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary
from obnam_server.store.accounts.audit import RepositoryAudit
from obnam_server.store.errors import Kept
from obnam_server.store.generations.register import Alarm, Mark, Register, RegisterStore
from obnam_server.store.seams.index import IIndex


@frozen
class KeptGeneration:
    """A generation and what was decided about it; ``None``: nothing."""

    summary: GenerationSummary
    trashed: Mark | None
    pin: Mark | None


@frozen
class Decisions:
    """Decisions over the generations of one repository. Changes come from the writer thread."""

    _index: IIndex
    _register: RegisterStore
    _clock: Callable[[], int]
    _audit: RepositoryAudit

    def register(self) -> Register:
        """What holds now."""
        return self._register.get()

    def all(self) -> list[KeptGeneration]:
        """Every generation, oldest first."""
        register = self._register.get()
        return [
            KeptGeneration(
                summary,
                register.trash.get(summary.receipt.generation),
                register.pins.get(summary.receipt.generation),
            )
            for summary, _ in self._index.all_generations()
        ]

    def listed(self, after_sequence: int, limit: int) -> list[ListedGeneration]:
        """At most ``limit`` generations with higher sequence numbers, oldest first.

        Without those in the trash.
        """
        pins = self._register.get().pins.items()
        reasons = {key: mark.reason[:PIN_REASON_MAX] for key, mark in pins}
        return [
            ListedGeneration(each, reasons.get(each.receipt.generation))
            for each in self._index.list_generations(after_sequence, limit)
        ]

    def trash(
        self, after_sequence: int, limit: int, stays_ns: int | None = None
    ) -> list[ListedGeneration]:
        """The same of those in the trash. ``stays_ns``: how long each is there at least."""
        return [
            ListedGeneration(each, None, at_ns, None if stays_ns is None else at_ns + stays_ns)
            for each, at_ns in self._index.list_trash(after_sequence, limit)
        ]

    def delete(self, generations: Sequence[GenerationId], by: str, reason: str) -> None:
        """WRITER. Into the trash with all of them, or with none. `NotFound`, `Kept`.

        Those that are there already stay as they are.
        """
        register = self._register.get()
        going = [each for each in self._known(generations) if each not in register.trash]
        if not going:
            return
        self._check_not_held(register)
        newest = self._newest_beside(going)
        for generation in going:
            if generation in register.pins:
                reason = register.pins[generation].reason
                raise Kept(generation, f"it is pinned ({reason}); unpin it first")
            if generation in newest:
                raise Kept(
                    generation, "it is the newest of its client, whose next backup begins from it"
                )
        mark = Mark(self._clock(), by, reason)
        trash = {**register.trash, **dict.fromkeys(going, mark)}
        self._put(evolve(register, trash=trash), "delete", by=by, reason=reason, generations=going)

    def undelete(self, generations: Sequence[GenerationId]) -> None:
        """WRITER. Out of the trash again, all or none. `NotFound` when one is gone for good.

        Those that are not in the trash stay as they are.
        """
        register = self._register.get()
        back = set(self._known(generations)) & register.trash.keys()
        if back:
            trash = {key: mark for key, mark in register.trash.items() if key not in back}
            self._put(evolve(register, trash=trash), "undelete", generations=sorted(back))

    def expunge(self, generations: Sequence[GenerationId]) -> None:
        """WRITER. From the trash, for good, all or none. `NotFound`, `Kept`."""
        register = self._register.get()
        self._check_not_held(register)
        sequences = BitMap64()
        for generation in self._known(generations):
            if generation not in register.trash:
                raise Kept(generation, "it is not in the trash; delete it first")
            record = self._index.get_generation(generation)
            if record is not None:
                sequences.add(record.summary.receipt.sequence)
        if sequences:
            going = set(generations)
            trash = {key: mark for key, mark in register.trash.items() if key not in going}
            changed = evolve(register, trash=trash, expunged=register.expunged | sequences)
            self._put(changed, "expunge", generations=sorted(going))

    def pin(self, generation: GenerationId, by: str, reason: str) -> None:
        """WRITER. Keep it whatever the policy says. `NotFound`; `Kept`: it is in the trash."""
        register = self._register.get()
        self._known([generation])
        if generation in register.trash:
            raise Kept(generation, "it is in the trash; undelete it first")
        mark = Mark(self._clock(), by, reason)
        changed = evolve(register, pins={**register.pins, generation: mark})
        self._put(changed, "pin", by=by, reason=reason, generation=generation)

    def unpin(self, generation: GenerationId) -> None:
        """WRITER. The policy decides again. `NotFound`; one that is not pinned is fine."""
        register = self._register.get()
        self._known([generation])
        if generation in register.pins:
            pins = {key: mark for key, mark in register.pins.items() if key != generation}
            self._put(evolve(register, pins=pins), "unpin", generation=generation)

    def hold(self, by: str, reason: str) -> None:
        """WRITER. Nothing is deleted, and nothing leaves the trash, until `release`."""
        mark = Mark(self._clock(), by, reason)
        self._put(evolve(self._register.get(), hold=mark), "hold", by=by, reason=reason)

    def release(self) -> None:
        """WRITER. End the hold. None is fine."""
        register = self._register.get()
        if register.hold is not None:
            self._put(evolve(register, hold=None), "release")

    def alarm(self, client: ClientName, generation: GenerationId, reason: str) -> None:
        """WRITER. Keep all of a client's generations until somebody has looked.

        An alarm that is there already stays: the first one says where it began.
        """
        register = self._register.get()
        if client not in register.alarms:
            alarm = Alarm(generation, Mark(self._clock(), "the server", reason))
            changed = evolve(register, alarms={**register.alarms, client: alarm})
            self._put(changed, "alarm", of=client, generation=generation, reason=reason)

    def alarm_over(self, client: ClientName, generation: GenerationId) -> str | None:
        """The reason of a client's alarm, if it is this generation that raised it."""
        alarm = self._register.get().alarms.get(client)
        return alarm.mark.reason if alarm and alarm.generation == generation else None

    def acknowledge(self, client: ClientName) -> None:
        """WRITER. Somebody has looked. No alarm is fine."""
        register = self._register.get()
        if client in register.alarms:
            alarms = {key: alarm for key, alarm in register.alarms.items() if key != client}
            self._put(evolve(register, alarms=alarms), "acknowledge", of=client)

    def set_policy(self, policy: Mapping[str, Any] | None) -> None:
        """WRITER. What retention goes by from now on: JSON, checked by the caller."""
        self._put(evolve(self._register.get(), policy=policy), "policy", policy=policy)

    def retire(
        self, going: Sequence[GenerationId], expunged: Sequence[GenerationId], version: int
    ) -> bool:
        """WRITER. What retention decided by the register of this ``version``.

        False: the register is another one by now, and nothing is changed. `Kept`, `NotFound`.
        """
        if self._register.get().version != version:
            return False
        if expunged:
            self.expunge(expunged)
        if going:
            self.delete(going, "retention", "no rule of the policy keeps it")
        return True

    def _put(self, register: Register, event: str, **details: object) -> None:
        with self._audit.change(event, None, None, **details):
            self._register.put(register, self._clock())

    def _known(self, generations: Iterable[GenerationId]) -> list[GenerationId]:
        found = list(dict.fromkeys(generations))
        for generation in found:
            if self._index.get_generation(generation) is None:
                raise NotFound(f"generation {generation}")
        return found

    def _newest_beside(self, generations: Iterable[GenerationId]) -> set[GenerationId]:
        """Of their clients the newest generations, and the newest that are no checkpoints."""
        records = [self._index.get_generation(generation) for generation in generations]
        clients = {record.summary.client for record in records if record is not None}
        return {newest for client in clients for newest in self._index.newest(client)}

    def _check_not_held(self, register: Register) -> None:
        if register.hold is not None:
            raise Kept(
                "everything", f"there is a legal hold ({register.hold.reason}); release it first"
            )
