"""What a restore says of metadata that the file system does not have: once, not for each file."""

from obnam.live.apply import Missed
from obnam.restore.report import Report
from tests.support.null_progress import NullProgress


def test_times_that_cannot_be_set() -> None:
    progress = NullProgress()
    report = Report(progress)
    for name in (b"a", b"b"):
        report.missed(name, Missed(times=True))
    report.sum_up()
    assert progress.warnings == [
        "the modification time of 2 entries could not be set (the first: a): "
        "the file system there does not let it be"
    ]
    assert report.counts.warnings == 1
