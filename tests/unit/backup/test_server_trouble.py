"""Backups that cannot be made, and what they leave for the next one."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import evolve

from obnam.errors import BadRoot, DamagedGeneration, ServerFull
from obnam.generation.nascent import NascentGeneration
from obnam.model.entry import Reason
from obnam.repository.deferring import returns_deferred
from obnam.wire.messages import RepositoryDescription
from tests.support.memory_repository import MemoryRepository
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
UNCHANGED = Reason.UNCHANGED


@ensure
@pytest.mark.parametrize("kind", ["missing", "file", "link"])
async def test_a_bad_root_stops_everything(laptop: Laptop, tmp_path: Path, kind: str) -> None:
    bad = tmp_path / "bad"
    if kind == "file":
        bad.touch()
    if kind == "link":
        bad.symlink_to(laptop.root)
    (laptop.root / "file").write_bytes(b"content")

    with pytest.raises(BadRoot):
        await laptop.back_up(roots=(bytes(laptop.root), bytes(bad)))

    assert laptop.server.generations == {}
    assert laptop.server.chunks == {}
    assert list(laptop.cache.glob("*.[ns]*")) == []


@ensure
async def test_a_server_that_is_full(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    for number in range(12):
        (laptop.root / f"file {number:02}").write_bytes(noise(number, 700_000))
    (laptop.root / "huge").write_bytes(noise(100, 6_000_000))
    room = iter(range(3))

    def full() -> None:
        if next(room, None) is None:
            raise ServerFull("memory")

    laptop.repository.before_store = full
    with pytest.raises(ServerFull):
        await laptop.back_up()
    assert laptop.server.generations == {}
    assert list(laptop.cache.glob("*.[ns]*")) == []
    stored = set(laptop.server.chunks)
    assert stored

    laptop.repository.before_store = lambda: None
    generation = await laptop.back_up()

    assert not stored.intersection(laptop.repository.stored)
    entries = await laptop.below(generation)
    assert entries["huge"].content == noise(100, 6_000_000)
    assert entries["file 07"].content == noise(7, 700_000)


@ensure
async def test_a_full_server_is_told_of_in_the_middle_of_a_file(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the only one that is read: what cannot be stored need not be read to its end."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)
    huge = laptop.root / "huge"
    with huge.open("wb") as file:
        for number in range(40):
            file.write(noise(number, 1 << 20))

    def full() -> None:
        raise ServerFull("memory")

    laptop.repository.before_store = full
    with pytest.raises(ServerFull):
        await laptop.back_up()
    assert 0 < laptop.pool.jobs.count("name_part") < 10  # of 20


@ensure
async def test_a_lost_database_is_no_lost_backup(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    (laptop.root / "cache").mkdir()
    (laptop.root / "cache" / "CACHEDIR.TAG").write_bytes(
        b"Signature: 8a477f597d28d172789f06886806bc55"
    )
    first = await laptop.back_up()
    for path in laptop.cache.glob("*.[ns]*"):
        path.unlink()
    for chunk in (await laptop.generations().get(first)).manifest.database.chunks:
        del laptop.server.chunks[chunk.id]
    with pytest.raises(DamagedGeneration):
        await laptop.read(first)

    second = await laptop.back_up()

    assert len(laptop.warnings) == 1  # and none of them about tags, of which nothing is known
    assert "all files are read again" in laptop.warnings[0]
    assert laptop.results[-1].warnings == 1
    assert (await laptop.below(second))["file"].content == b"content"
    manifest = (await laptop.generations().get(second)).manifest
    assert (manifest.sequence, manifest.previous and manifest.previous.generation) == (2, first)
    await laptop.back_up()
    assert laptop.warnings == []


@ensure
async def test_the_cache_may_be_deleted_at_any_time(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    shutil.rmtree(laptop.cache)
    assert await laptop.reasons(await laptop.back_up()) == {"file": UNCHANGED}
    assert laptop.warnings == []


@ensure
async def test_a_commit_that_is_refused_changes_nothing(laptop: Laptop) -> None:
    file = laptop.root / "file"
    file.write_bytes(b"content")
    await laptop.back_up()
    file.write_bytes(b"another content")

    def refuse() -> None:
        raise ServerFull("memory")

    laptop.repository.before_commit = refuse
    with pytest.raises(ServerFull):
        await laptop.back_up()
    laptop.repository.before_commit = lambda: None
    generation = await laptop.back_up()
    assert laptop.results[-1].sent.chunks == 0
    assert (await laptop.below(generation))["file"].content == b"another content"
    assert (await laptop.generations().get(generation)).manifest.sequence == 2


@ensure
@pytest.mark.parametrize("what", ["data", "database"])
async def test_chunks_that_the_server_lost_are_stored_anew(laptop: Laptop, what: str) -> None:
    """Of files that have not changed: they would stand in the way of every later backup."""
    (laptop.root / "stays").write_bytes(noise(1, 700_000))
    (laptop.root / "small").write_bytes(b"content")
    first = await laptop.back_up()
    database = {c.id for c in (await laptop.generations().get(first)).manifest.database.chunks}
    lost = database if what == "database" else set(laptop.server.chunks) - database
    for chunk_id in lost:
        del laptop.server.chunks[chunk_id]
    (laptop.root / "comes").write_bytes(b"new")

    second = await laptop.back_up()

    (warning,) = laptop.warnings
    assert f"the server has lost {len(lost)} chunks" in warning
    assert laptop.results[-1].warnings == 1
    entries = await laptop.below(second)
    assert entries["stays"].content == noise(1, 700_000)
    assert entries["small"].content == b"content"
    manifest = (await laptop.generations().get(second)).manifest
    assert (manifest.sequence, manifest.previous and manifest.previous.generation) == (2, first)
    await laptop.back_up()
    assert laptop.warnings == []


@ensure
async def test_a_lost_manifest_is_only_followed_by_who_remembers_it(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    state = laptop.home / "state.json"
    older = state.read_bytes()
    newest = await laptop.back_up()
    remembered = state.read_bytes()
    found = laptop.server.generations[newest]
    lost = evolve(found, committed=evolve(found.committed, manifest=b""))
    laptop.server.generations[newest] = lost
    state.write_bytes(older)
    with pytest.raises(DamagedGeneration, match="invited under another name"):
        await laptop.back_up()
    assert len(laptop.server.generations) == 2
    state.write_bytes(remembered)
    third = await laptop.back_up()
    assert "all files are read again" in laptop.warnings[0]
    manifest = (await laptop.generations().get(third)).manifest
    assert manifest.previous is not None
    assert manifest.previous.generation == newest


@ensure
async def test_a_base_that_cannot_be_copied_leaves_nothing_behind(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, say: a file as large as the database would make it worse each time."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    before = sorted(laptop.cache.iterdir())
    with monkeypatch.context() as failing, pytest.raises(OSError, match="No space left"):
        failing.setattr("obnam.backup.base.shutil.copyfile", full)
        await laptop.back_up()
    assert [path for path in sorted(laptop.cache.iterdir()) if path not in before] == []
    await laptop.back_up()


@ensure
async def test_no_backup_whose_history_cannot_be_noted(laptop: Laptop) -> None:
    """The next one could not tell whether the server shows the newest."""
    (laptop.root / "file").write_bytes(b"content")
    (laptop.home / "state.new").mkdir()
    with pytest.raises(IsADirectoryError):
        await laptop.back_up()
    assert laptop.server.generations == {}
    (laptop.home / "state.new").rmdir()
    await laptop.back_up()


@ensure
async def test_a_server_that_does_not_say_whether_it_has_chunks_is_asked(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older one: it may have what another client has stored."""
    right = MemoryRepository.describe

    @returns_deferred
    async def describe(repository: MemoryRepository) -> RepositoryDescription:
        return evolve(await right(repository), has_chunks=None)

    monkeypatch.setattr(MemoryRepository, "describe", describe)
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    assert laptop.repository.asked != []


@ensure
async def test_a_full_backup_asks_for_everything(laptop: Laptop) -> None:
    """It stores again what the server lost, and nothing else."""
    for number in range(3):
        (laptop.root / f"file {number}").write_bytes(noise(number, 700_000))
    await laptop.back_up()
    entries = await laptop.below(await laptop.back_up())
    lost = next(c for c, sealed in laptop.server.chunks.items() if len(sealed) > 100_000)
    del laptop.server.chunks[lost]

    generation = await laptop.back_up(full=True)

    assert laptop.warnings == []
    assert lost in laptop.repository.stored
    assert laptop.results[-1].sent.chunks == 1
    assert {p: e.content for p, e in (await laptop.below(generation)).items()} == {
        p: e.content for p, e in entries.items()
    }


@ensure
async def test_a_repository_that_is_nearly_full(laptop: Laptop) -> None:
    """It is said, and is no warning of the backup's: nothing is wrong with it."""
    (laptop.root / "file").write_bytes(noise(1, 3_000_000))
    await laptop.back_up()
    used = sum(map(len, laptop.server.chunks.values()))
    laptop.server.quota_bytes = 2 * used
    await laptop.back_up()
    assert laptop.warnings == []
    (laptop.root / "more").write_bytes(noise(2, 3_000_000))
    await laptop.back_up()
    (warning,) = laptop.warnings
    assert f"of at most {2 * used:,}" in warning
    assert laptop.results[-1].warnings == 0


@ensure
async def test_what_is_on_its_way_is_given_up_when_there_can_be_no_commit(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lies in memory that is about to go."""

    def fail(_: NascentGeneration) -> list[bytes]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)
    monkeypatch.setattr(NascentGeneration, "settle", fail)
    (laptop.root / "file").write_bytes(noise("file", 700_000))
    laptop.repository.is_stuck = True
    with pytest.raises(OSError, match="No space"):
        await laptop.back_up()
    (upload,) = laptop.repository.on_their_way
    assert upload.called
