"""The cache of generation databases: never needed, never believed."""

import os
import shutil
from pathlib import Path

import pytest
import xxhash
from attrs import define

from obnam.live.scan import CACHE_TAG_NAME, is_cache_directory
from obnam.model.ids import GenerationId, parse_generation_id
from obnam.repository.cache import LEFT_BEHIND_S, GenerationCache, cache_directory


def generation(number: int) -> GenerationId:
    return parse_generation_id(f"{number:032x}")


def checksum(content: bytes) -> bytes:
    return xxhash.xxh3_128_digest(content)


@define
class Time:
    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def cache(tmp_path: Path) -> GenerationCache:
    return GenerationCache(cache_directory(tmp_path, "abc"), 1000, Time())


def put(cache: GenerationCache, number: int, content: bytes) -> bool:
    made = cache.temporary()
    made.write_bytes(content)
    return cache.put(generation(number), made)


def kept(cache: GenerationCache) -> set[str]:
    return {path.name for path in cache.directory.iterdir()} - {CACHE_TAG_NAME.decode()}


def test_what_was_put_is_found(cache: GenerationCache) -> None:
    assert put(cache, 1, b"content")
    path = cache.get(generation(1), checksum(b"content"))
    assert path is not None
    assert path.read_bytes() == b"content"
    assert path.parent == cache.directory


def test_nothing_there(cache: GenerationCache) -> None:
    assert cache.get(generation(1), checksum(b"")) is None
    cache.prune()


@pytest.mark.parametrize("damaged", [b"", b"contenT", b"content and more", b"cont"])
def test_damaged_files_are_not_used(cache: GenerationCache, damaged: bytes) -> None:
    put(cache, 1, b"content")
    next(cache.directory.glob("*.sqlite")).write_bytes(damaged)
    assert cache.get(generation(1), checksum(b"content")) is None
    assert kept(cache) == set()


def test_what_was_used_longest_ago_goes_first(cache: GenerationCache) -> None:
    for number in (1, 2, 3):
        put(cache, number, bytes([number]) * 300)
    assert cache.get(generation(1), checksum(b"\x01" * 300))
    put(cache, 4, b"\x04" * 300)
    assert cache.get(generation(2), checksum(b"\x02" * 300)) is None
    for number in (1, 3, 4):
        assert cache.get(generation(number), checksum(bytes([number]) * 300))


def test_too_large_to_be_kept(cache: GenerationCache) -> None:
    put(cache, 1, b"small")
    assert not put(cache, 2, b"x" * 1001)
    assert cache.get(generation(1), checksum(b"small"))


def test_all_of_it_may_be_used(cache: GenerationCache) -> None:
    assert put(cache, 1, b"x" * 1000)
    assert cache.get(generation(1), checksum(b"x" * 1000))
    for number in (2, 3):
        assert put(cache, number, b"y" * 500)
    assert kept(cache) == {f"{generation(number)}.sqlite" for number in (2, 3)}


def test_what_was_made_last_was_used_last(cache: GenerationCache) -> None:
    """Whenever its file was written: a long backup's is old when it is put here."""
    put(cache, 1, b"x" * 600)
    made = cache.temporary()
    made.write_bytes(b"y" * 600)
    os.utime(made, (5, 5))
    assert cache.put(generation(2), made)
    assert kept(cache) == {f"{generation(2)}.sqlite"}


def test_what_is_being_made_takes_no_room(cache: GenerationCache) -> None:
    """It is another run's, and not to be removed under it, however large it is."""
    others = cache.temporary()
    others.write_bytes(b"z" * 2000)
    then = cache.now_s()
    os.utime(others, (then, then))
    put(cache, 1, b"x" * 600)
    assert kept(cache) == {others.name, f"{generation(1)}.sqlite"}


def test_a_cache_of_nothing(tmp_path: Path) -> None:
    cache = GenerationCache(tmp_path / "cache", 0, Time())
    made = cache.temporary()
    made.write_bytes(b"content")
    assert not cache.put(generation(1), made)
    assert made.exists()


def test_the_cache_may_be_deleted_at_any_time(cache: GenerationCache) -> None:
    put(cache, 1, b"content")
    shutil.rmtree(cache.directory)
    assert cache.get(generation(1), checksum(b"content")) is None
    cache.prune()
    assert put(cache, 1, b"content")
    assert cache.get(generation(1), checksum(b"content"))


def test_what_killed_runs_left_behind_is_removed(cache: GenerationCache) -> None:
    old, young = cache.temporary(), cache.temporary()
    for path, age in ((old, LEFT_BEHIND_S + 60), (young, LEFT_BEHIND_S - 60)):
        path.write_bytes(b"x")
        then = cache.now_s() - age
        os.utime(path, (then, then))
    put(cache, 1, b"content")
    assert not old.exists()
    assert young.exists()


def test_nobody_else_can_look_into_it(cache: GenerationCache) -> None:
    cache.temporary()
    assert cache.directory.stat().st_mode & 0o777 == 0o700


def test_it_is_marked_as_a_cache(cache: GenerationCache) -> None:
    """Otherwise a backup of a home directory would have all its earlier databases in it."""
    put(cache, 1, b"content")
    directory = os.open(cache.directory, os.O_RDONLY)
    try:
        assert is_cache_directory(directory)
    finally:
        os.close(directory)
    shutil.rmtree(cache.directory)
    assert put(cache, 2, b"other")
