"""A day in the life of a store: things done to it, and what may be relied on after each."""

from collections.abc import Callable, Mapping
from random import Random

import pytest
from attrs import define, evolve, field, frozen

from obnam.errors import NotFound
from obnam.model.ids import ClientName
from obnam.wire.messages import KeyringSlot
from obnam_server.store.repository import RepositoryStore
from tests.support.stored import (
    ALICE,
    BOB,
    all_right,
    body_of,
    chunk_id,
    commit_of,
    finished,
    generation_id,
    held,
)

NAMES = "abcdefghijklm"
CAROL = ClientName("carol")


@frozen
class Facts:
    """What the store has promised so far.

    ``generations``: committed, whole; ``trashed``: of them, those not listed (``None``: either
    way); ``gone``: expunged; ``chunks``: acknowledged; ``slot``: the keyring's, at least.
    """

    generations: Mapping[str, str] = field(factory=dict)
    trashed: Mapping[str, bool | None] = field(factory=dict)
    gone: frozenset[str] = frozenset()
    chunks: frozenset[str] = frozenset()
    slot: int = 0


@define
class Day:
    """The script: does things to a store, and says what may be relied on from then on."""

    home: RepositoryStore
    know: Callable[[Facts], None]
    facts: Facts = field(factory=Facts)

    def now(self, **changes: object) -> None:
        self.facts = evolve(self.facts, **changes)  # type: ignore[arg-type]
        self.know(self.facts)

    def back_up(self, client: ClientName, name: str, whole: str) -> None:
        latest = self.home.latest(client)
        previous = None if latest is None else latest.summary.receipt.generation
        session = self.home.begin_session(client, previous)
        ids = [chunk_id(letter) for letter in whole]
        asked = zip(whole, self.home.missing(session, ids), strict=True)
        missing = [letter for letter, lacks in asked if lacks]
        for part in (missing[:1], missing[1:]):
            if part:
                self.home.accept(session, finished(self.home, body_of(part)))
                self.now(chunks=self.facts.chunks | set(part))
        before = [] if previous is None else sorted(set(NAMES) - set(whole))
        self.home.refer(client, session, ids, [chunk_id(letter) for letter in before])
        self.home.commit(client, session, commit_of(name, previous, whole))
        self.now(
            generations={**self.facts.generations, name: whole},
            trashed={**self.facts.trashed, name: False},
        )

    def put_keyring(self, number: int) -> None:
        slot = KeyringSlot(f"{number:032x}", "slot", b"sealed")
        self.home.put_keyring([slot], self.home.get_keyring().etag)
        self.now(slot=number)

    def _trash(self, name: str, value: bool | None) -> None:
        self.now(trashed={**self.facts.trashed, name: value})

    def delete(self, name: str) -> None:
        self._trash(name, None)
        self.home.change(self.home.decisions.delete, [generation_id(name)], "admin", "old")
        self._trash(name, True)

    def undelete(self, name: str) -> None:
        self._trash(name, None)
        self.home.change(self.home.decisions.undelete, [generation_id(name)])
        self._trash(name, False)

    def expunge(self, name: str) -> None:
        self.now(
            generations={k: v for k, v in self.facts.generations.items() if k != name},
        )
        self.home.change(self.home.decisions.expunge, [generation_id(name)])
        self.now(gone=self.facts.gone | {name})

    def compact(self, also_live: str = "", apart: int = 100) -> None:
        """All segments, ``apart`` of them into each new one."""
        live = set(also_live).union(*self.facts.generations.values())
        self.now(chunks=self.facts.chunks & live)
        segments = [share.segment for share in self.home.collection.shares()]
        for first in range(0, len(segments), apart):
            rewrite = self.home.collection.rewrite(segments[first : first + apart])
            for _ in rewrite.steps():
                pass
            assert self.home.change(self.home.collection.replace, rewrite)


def morning(day: Day) -> None:
    """Backups, a keyring, the trash, compaction, and what was collected comes again."""
    day.back_up(ALICE, "one", "abc")
    day.back_up(BOB, "theirs", "cd")
    day.put_keyring(1)
    day.back_up(ALICE, "two", "aef")
    day.delete("one")
    day.undelete("one")
    day.delete("one")
    day.expunge("one")
    day.compact()
    day.back_up(ALICE, "three", "abf")


def evening(day: Day) -> None:
    """Decisions; compaction in pieces beside a backup that relies on what is dead otherwise."""
    day.home.change(day.home.decisions.pin, generation_id("two"), "admin", "the good one")
    day.home.change(day.home.decisions.hold, "admin", "case 7")
    day.home.change(day.home.decisions.release)
    day.home.change(day.home.decisions.alarm, BOB, generation_id("theirs"), "much")
    day.home.change(day.home.decisions.unpin, generation_id("two"))
    day.put_keyring(2)
    day.delete("two")
    day.expunge("two")
    session = day.home.begin_session(CAROL, None)
    assert day.home.missing(session, [chunk_id("e")]) == [False]
    day.back_up(BOB, "theirs two", "dgh")
    day.compact(also_live="e", apart=2)
    day.home.refer(CAROL, session, [chunk_id("e")], [])
    day.home.commit(CAROL, session, commit_of("hers", None, "e"))
    day.now(
        generations={**day.facts.generations, "hers": "e"},
        trashed={**day.facts.trashed, "hers": False},
    )
    day.delete("theirs")
    day.expunge("theirs")
    day.compact(apart=3)


def any_day(seed: int) -> Callable[[Day], None]:
    """Forty things in an order of chance, the same each time."""

    def script(day: Day) -> None:
        chance = Random(seed)
        for number in range(40):
            ever = [n for n, trashed in day.facts.trashed.items() if n in day.facts.generations]
            newest = {client: n for n in ever for client in [n.split()[0]]}
            old = [n for n in ever if n not in newest.values()]
            match chance.choice("bbbbdduxxck"):
                case "b":
                    client = chance.choice((ALICE, BOB, CAROL))
                    whole = "".join(sorted(chance.sample(NAMES, chance.randint(1, 6))))
                    day.back_up(client, f"{client} {seed} {number}", whole)
                case "d" if some := [n for n in old if not day.facts.trashed[n]]:
                    day.delete(chance.choice(some))
                case "u" if some := [n for n in old if day.facts.trashed[n]]:
                    day.undelete(chance.choice(some))
                case "x" if some := [n for n in old if day.facts.trashed[n]]:
                    day.expunge(chance.choice(some))
                case "c":
                    day.compact(apart=chance.randint(1, 4))
                case "k":
                    day.put_keyring(day.facts.slot + 1)

    return script


def promised(home: RepositoryStore, facts: Facts) -> None:
    """All that was promised holds."""
    there = held(home, NAMES)
    assert there == all_right(there)
    assert facts.chunks <= there.keys()
    listed = {each.receipt.generation for each in home.list_generations(0, 100)}
    for name, whole in facts.generations.items():
        assert home.get_generation(generation_id(name)).manifest.endswith(name.encode())
        assert there.keys() >= set(whole)
        trashed = facts.trashed[name]
        assert trashed is None or trashed == (generation_id(name) not in listed), name
    for name in facts.gone:
        with pytest.raises(NotFound):
            home.get_generation(generation_id(name))
    slots = home.get_keyring().slots
    assert not facts.slot or slots[0].slot >= f"{facts.slot:032x}"
