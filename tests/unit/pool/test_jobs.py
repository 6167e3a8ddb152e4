"""What a worker process needs, and what it does not."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("unwanted", ["twisted", "asyncio", "http", "sqlite3"])
def test_workers_import_nothing_that_only_the_client_needs(unwanted: str) -> None:
    asked = f"import sys, obnam.pool.jobs; print({unwanted!r} in sys.modules)"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
