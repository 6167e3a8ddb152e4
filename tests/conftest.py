"""What holds for every test."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.guard import flush_logged_errors, no_loose_ends
from tests.support.order import in_parts
from tests.support.soak import IS_SOAK

# Worker processes import jobs that tests define: they get this path too. Last, so that `obnam` is
# the installed one, here and there.
sys.path.append(str(Path(__file__).parents[1]))

__all__ = ["flush_logged_errors", "no_loose_ends"]

# The same examples every time, and no failure because the machine was busy. A soak is for others:
# what it finds is printed, to be found again.
settings.register_profile("obnam", derandomize=not IS_SOAK, print_blob=IS_SOAK, deadline=None)
settings.load_profile("obnam")


def pytest_configure(config: pytest.Config) -> None:
    """A coroutine that nobody awaited is a failure, wherever it is found out."""
    config.addinivalue_line("filterwarnings", "error:coroutine .* was never awaited")
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnraisableExceptionWarning")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """See `tests.support.order`; a single process keeps the order of the files."""
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    if count > 1:
        by_name = {item.nodeid: item for item in items}
        parts = in_parts(list(by_name), count)
        items[:] = [by_name[name] for part in parts for name in part]
