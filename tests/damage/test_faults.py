"""The disk is full, or fails, at each single operation of a store's day."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam_server.store.accounts.audit_lines import verified
from obnam_server.store.errors import StoreError, StoreFailed, StoreFull, StoreUncertain
from obnam_server.store.store import Store
from tests.damage.day import Day, Facts, evening, morning, promised
from tests.damage.store_workload import check_sets
from tests.support.failing_files import FailingFiles
from tests.support.stored import BOB, HOME, Clock, back_up


def live(data: Path, script: Callable[[Day], None], facts: Facts, fail_at: int, error: int) -> bool:
    """Do it on a disk that fails once; what was promised holds at once, and after a restart.

    Whether that failure was met: one that only concerns the audit log holds nothing up.
    """

    def fail() -> None:
        raise OSError(error, os.strerror(error))

    files = FailingFiles(-1, fail)
    store = Store.open(data, Clock(), files)
    home = store.create_repository(HOME)
    files.fail_at = files.done + fail_at
    day = Day(home, lambda _: None, facts)
    failed: StoreError | None = None
    met = True
    try:
        script(day)
        met = files.done > files.fail_at
    except (StoreFull, StoreFailed) as caught:
        failed = caught
        expected = StoreFull if error == errno.ENOSPC else StoreFailed
        assert isinstance(failed, (expected, StoreUncertain))
        if not isinstance(failed, StoreUncertain):
            promised(home, day.facts)
            for session in home._index.sessions(None):
                home.end_session(session.client, session.session)
            # It goes on without a restart.
            back_up(home, BOB, "after all", "xyz")
            day.compact(also_live="xyz")
            promised(home, day.facts)
    store.close()
    store = Store.open(data, Clock())
    home = store.create_repository(HOME)
    assert home.problems == []
    promised(home, day.facts)
    store.close()
    check_sets(data)
    list(verified(data / "audit"))
    return met


@pytest.mark.parametrize("script", [morning, evening])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_nothing_is_lost_by_a_disk_that_fails(
    script: Callable[[Day], None], error: int, tmp_path: Path
) -> None:
    before, data = tmp_path / "before", tmp_path / "data"
    store = Store.open(before, Clock())
    day = Day(store.create_repository(HOME), lambda _: None)
    if script is evening:
        morning(day)
    store.close()
    count, failed = 0, True
    while failed:
        shutil.copytree(before, data)
        failed = live(data, script, day.facts, count, error)
        shutil.rmtree(data)
        count += 1
    assert count > 60
