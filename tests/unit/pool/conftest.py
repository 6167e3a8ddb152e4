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
            links.append(f"{descriptor} " + os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # that of the directory itself
    return [link for link in links if "obnam-slab" in link or str(directory) in link]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    before = left_open(tmp_path)
    bench = Bench()
    yield bench
    bench.close()
    # Slabs that other tests left to the garbage collector may be gone by now.
    assert set(left_open(tmp_path)) <= set(before)
