"""Files to read become batches: every file once, in order, none larger than it may be."""

from hypothesis import given
from hypothesis import strategies as st

from obnam.backup.batches import BATCH_FILES_MAX, BUNDLE_FILE_MAX, Batch, Batches, Cut, Place
from obnam.backup.plan import Mark
from obnam.model.entry import Reason
from obnam.pool.named import Group

SLAB = 1 << 20
NEW, CHANGED = Mark(Reason.NEW, 4), Mark(Reason.CHANGED, 4)
HERE = Place(1, b"/here", (1, 2), NEW)
THERE = Place(2, b"/there", (1, 3), CHANGED)


def names(batch: Batch) -> list[tuple[int, bytes]]:
    return [(group.directory, name) for group in batch.groups for name in group.names]


def test_small_files_become_one_bundle() -> None:
    batches = Batches(SLAB)
    assert list(batches.add(HERE, [(b"a", 10)])) == []
    assert list(batches.add(HERE, [(b"b", 0)])) == []
    assert list(batches.add(THERE, [(b"c", 20)])) == []
    (bundle,) = batches.rest()
    assert (bundle.cut, bundle.size_bytes, bundle.file_count) == (Cut.BUNDLE, 30, 3)
    assert bundle.groups == (
        Group(1, b"/here", (1, 2), Reason.NEW, 4, [b"a", b"b"]),
        Group(2, b"/there", (1, 3), Reason.CHANGED, 4, [b"c"]),
    )
    assert batches.rest() == []


def test_each_size_goes_its_way() -> None:
    batches = Batches(SLAB)
    files = [(b"small", BUNDLE_FILE_MAX - 1), (b"middle", BUNDLE_FILE_MAX)]
    files += [(b"full", SLAB), (b"huge", SLAB + 1)]
    assert [(b.cut, names(b)) for b in batches.add(HERE, files)] == [
        (Cut.EACH, [(1, b"middle")]),
        (Cut.PARTS, [(1, b"huge")]),
    ]
    assert [(b.cut, names(b)) for b in batches.rest()] == [
        (Cut.BUNDLE, [(1, b"small")]),
        (Cut.EACH, [(1, b"full")]),
    ]


def test_a_batch_has_a_number_of_files_at_most() -> None:
    batches = Batches(SLAB)
    files = [(b"%d" % number, 0) for number in range(BATCH_FILES_MAX + 1)]
    assert list(batches.add(HERE, files[:-1])) == []
    (full,) = batches.add(HERE, files[-1:])
    assert full.file_count == BATCH_FILES_MAX


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * SLAB)), max_size=60))
def test_every_file_once_and_in_order(files: list[tuple[bool, int]]) -> None:
    batches = Batches(SLAB)
    done: list[Batch] = []
    for number, (here, size) in enumerate(files):
        done += batches.add(HERE if here else THERE, [(b"%03d" % number, size)])
    done += batches.rest()
    for cut in Cut:
        came = [name for batch in done if batch.cut is cut for _, name in names(batch)]
        assert came == sorted(came)
    everything = sorted(pair for batch in done for pair in names(batch))
    assert everything == sorted(
        (1 if here else 2, b"%03d" % number) for number, (here, _) in enumerate(files)
    )
    for batch in done:
        assert batch.size_bytes == sum(files[int(name)][1] for _, name in names(batch))
        assert batch.file_count == len(names(batch))
        assert batch.size_bytes <= SLAB or batch.cut is Cut.PARTS
