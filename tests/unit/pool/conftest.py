"""A bench for each test, which leaves none of its files or slabs open."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.pool.bench import Bench


def left_open(directory: Path) -> list[str]:
    """What this process has open of slabs, and of files in a directory."""
    links = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # that of the directory itself
    return [link for link in links if "obnam-slab" in link or link.startswith(str(directory))]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
    assert left_open(tmp_path) == []
