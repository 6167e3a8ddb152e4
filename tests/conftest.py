"""What holds for every test."""

import pytest
from hypothesis import settings

from tests.support.guard import flush_logged_errors, no_loose_ends

__all__ = ["flush_logged_errors", "no_loose_ends"]

# The same examples every time, and no failure because the machine was busy.
settings.register_profile("obnam", derandomize=True, deadline=None)
settings.load_profile("obnam")


def pytest_configure(config: pytest.Config) -> None:
    """A coroutine that nobody awaited is a failure, wherever it is found out."""
    config.addinivalue_line("filterwarnings", "error:coroutine .* was never awaited")
    config.addinivalue_line("filterwarnings", "error::pytest.PytestUnraisableExceptionWarning")
