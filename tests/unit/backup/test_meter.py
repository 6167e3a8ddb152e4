"""What is told of a batch: all of it in the end, whatever its pieces come to."""

from hypothesis import given
from hypothesis import strategies as st

from obnam.backup.meter import Meter
from tests.support.null_progress import NullProgress

sizes = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=10)


@given(st.integers(0, 200), sizes)
def test_all_of_a_batch_is_told_once(size: int, pieces: list[tuple[int, int, bool]]) -> None:
    progress = NullProgress()
    meter, late = Meter(progress, size), 0
    for known, sent, is_late in pieces:
        meter.known(known)
        meter.on_its_way(sent)
        if is_late:
            late += sent
        else:
            meter.stored(sent)
        assert progress.done_bytes <= size
    meter.read(3)
    assert progress.done_bytes >= size - late
    meter.stored(late)
    assert (progress.done_files, progress.done_bytes) == (3, size)


def test_what_is_read_is_not_done_before_it_is_stored() -> None:
    progress = NullProgress()
    meter = Meter(progress, 100)
    meter.on_its_way(60)
    meter.read(2)
    assert (progress.done_files, progress.done_bytes) == (2, 40)
    meter.stored(60)
    assert progress.done_bytes == 100
