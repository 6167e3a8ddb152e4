"""Breaking what a store keeps on its disk, and reading all of it again."""

from pathlib import Path

from obnam.model.ids import ChunkId
from obnam_server.store.interfaces import SegmentNumber
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.segments import path_of


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
