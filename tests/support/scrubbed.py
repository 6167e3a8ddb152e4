"""Breaking what a store keeps on its disk, and reading all of it again."""

from pathlib import Path
from typing import Self

from attrs import define

from obnam.model.ids import ChunkId
from obnam.wire.messages import KeyringSlot
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import ScrubPass, SegmentNumber
from obnam_server.store.segments.local import path_of
from obnam_server.store.upkeep.scrubbing import Noted
from tests.support.one_repository import OneRepository
from tests.support.stored import ALICE, back_up, chunk_id, generation_id, segment_paths

FIRST = 32 + 37
"""Where the sealed bytes of a segment's first chunk lie."""

SLOT = KeyringSlot("0" * 32, "slot", b"sealed")

CHUNKS_1, COMMIT_1, CHUNKS_2, COMMIT_2, KEYRING, REGISTER = range(1, 7)
"""Segments of what tests of the scrub and of the check begin with."""


def scrub_now(home: RepositoryStore) -> set[ChunkId]:
    """A whole pass; what it found to be damaged."""
    found: set[ChunkId] = set()
    scrub = home.change(home.scrubbing.begin)
    segment = SegmentNumber(0)
    while (check := home.scrubbing.check(segment)) is not None:
        while check.step():
            pass
        checked = check.checked()
        found.update(home.change(home.scrubbing.note, scrub, checked).damaged)
        segment = checked.segment
    home.change(home.scrubbing.end, scrub)
    return found


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def break_chunk(data: Path, home: RepositoryStore, chunk_id: ChunkId) -> None:
    """The disk changes a bit of a chunk, and the scrub finds it."""
    (place,) = home.locate([chunk_id])
    assert place is not None
    segments = data / "repositories" / home.name / "segments"
    flip(path_of(segments, place.segment), place.offset + place.length - 1)
    assert scrub_now(home) == {chunk_id}


@define
class SpoiltServer(OneRepository):
    """A store whose files are spoilt."""

    @classmethod
    def begun(cls, data: Path) -> Self:
        """One with all kinds of segments: see `CHUNKS_1`."""
        server = cls(data)
        server.start()
        back_up(server.home, ALICE, "one", "abc")
        back_up(server.home, ALICE, "two", "bcd")
        server.home.put_keyring([SLOT], "0")
        server.home.change(server.home.decisions.pin, generation_id("one"), "admin", "the first")
        return server

    def path(self, number: int) -> Path:
        (found,) = [p for p in segment_paths(self.data) if int(p.name, 16) == number]
        return found

    def flip(self, number: int, at: int) -> None:
        flip(self.path(number), at)

    def missing(self, names: str) -> str:
        session = self.home.begin_session(ALICE, None)
        answers = self.home.missing(session, [chunk_id(n) for n in names])
        self.home.end_session(ALICE, session)
        return "".join(n for n, lacks in zip(names, answers, strict=True) if lacks)

    def scrub(self, scrub: ScrubPass | None = None, segments: int = 1000) -> list[Noted]:
        """A pass, or some segments of one."""
        scrubbing, noted = self.home.scrubbing, []
        scrub = scrub or self.home.change(scrubbing.begin)
        for _ in range(segments):
            check = scrubbing.check(self.home.scrubbing.standing().passes[0].segment)
            if check is None:
                self.home.change(scrubbing.end, scrub)
                break
            while check.step():
                pass
            assert check.result is not None
            noted.append(self.home.change(scrubbing.note, scrub, check.result))
        return noted

    def damaged(self, noted: list[Noted]) -> set[ChunkId]:
        return {chunk for each in noted for chunk in each.damaged}


def names(found: set[ChunkId]) -> str:
    return "".join(n for n in "abcdefgh" if chunk_id(n) in found)


def compact(server: SpoiltServer, *segments: int) -> None:
    """Compact segments together."""
    rewrite = server.home.collection.rewrite([SegmentNumber(each) for each in segments])
    for _ in rewrite.steps():
        pass
    assert server.home.change(server.home.collection.replace, rewrite)
