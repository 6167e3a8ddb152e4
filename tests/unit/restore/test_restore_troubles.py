"""Restores where something stands in the way, is lost, or cannot be done."""

import errno
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]

from obnam.errors import BadTarget, NotFound, TargetFull
from obnam.live.overwrite import Overwrite
from obnam.model.chunk import ChunkKind
from tests.support.memory_scene import Scene
from tests.unit.pool.bench import noise, write
from tests.unit.pool.conftest import left_open
from tests.unit.restore.trees import LARGE, inside

# What stands in the target


@ensureDeferred
async def test_the_target_must_be_empty(scene: Scene, root: Path, target: Path) -> None:
    generation = await scene.back_up(root)
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(BadTarget, match="not empty"):
        await scene.restore(generation, target)


@pytest.mark.parametrize(
    ("overwrite", "kept", "changed", "same"),
    [
        (Overwrite.NEVER, 3, b"edited", b"other"),
        (Overwrite.IF_CHANGED, 1, b"first content", b"other"),
        (Overwrite.ALWAYS, 0, b"first content", b"equal"),
    ],
)
@ensureDeferred
async def test_overwriting(
    scene: Scene,
    root: Path,
    target: Path,
    overwrite: Overwrite,
    kept: int,
    changed: bytes,
    same: bytes,
) -> None:
    (root / "changed").write_bytes(b"first content")
    (root / "same").write_bytes(b"equal")
    (root / "large").write_bytes(LARGE)
    generation = await scene.back_up(root)
    await scene.restore(generation, target)
    top = inside(target, root)
    (top / "changed").write_bytes(b"edited")
    (top / "large").write_bytes(b"small")
    status = (top / "same").stat()
    (top / "same").write_bytes(b"other")
    os.utime(top / "same", ns=(status.st_atime_ns, status.st_mtime_ns))
    (top / "more").touch()
    result = await scene.restore(generation, target, overwrite=overwrite, verify=True)
    assert (top / "changed").read_bytes() == changed
    assert (top / "same").read_bytes() == same
    assert (top / "large").read_bytes() == (b"small" if kept == 3 else LARGE)
    assert (result.kept, result.files) == (kept, 3 - kept)
    assert sorted(os.listdir(top)) == ["changed", "large", "more", "same"]
    # Kept because it looked unchanged, and read back because it should be: that it is not is told.
    assert len(scene.warnings) == (overwrite is Overwrite.IF_CHANGED)


@ensureDeferred
async def test_a_link_to_a_file_that_was_kept_is_restored_as_a_copy(
    scene: Scene, root: Path, target: Path
) -> None:
    (root / "a").write_bytes(b"content")
    os.link(root / "a", root / "b")
    generation = await scene.back_up(root)
    inside(target, root).mkdir(parents=True)
    inside(target, root / "a").write_bytes(b"mine")
    result = await scene.restore(generation, target, overwrite=Overwrite.NEVER)
    assert inside(target, root / "a").read_bytes() == b"mine"
    assert inside(target, root / "b").read_bytes() == b"content"
    assert (result.kept, result.files, result.warnings) == (1, 1, 0)


@ensureDeferred
async def test_where_no_links_can_be_made_copies_are(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"content")
    os.link(root / "a", root / "b")
    generation = await scene.back_up(root)

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    link = os.link
    monkeypatch.setattr(os, "link", lambda a, b, **more: (refuse if more else link)(a, b))
    result = await scene.restore(generation, target)
    assert inside(target, root / "b").read_bytes() == b"content"
    assert (result.files, result.warnings) == (2, 0)


# What is lost


@pytest.mark.parametrize("damage", ["missing", "damaged"])
@ensureDeferred
async def test_files_without_their_chunks_are_named_and_the_others_restored(
    scene: Scene, root: Path, target: Path, damage: str
) -> None:
    for number in range(2):
        (root / f"medium{number}").write_bytes(random.Random(number).randbytes(130 * 1024))
    (root / "large").write_bytes(LARGE)
    (root / "small").write_bytes(b"small")
    generation = await scene.back_up(root)
    victim = scene.pool.tools.namer.name(ChunkKind.DATA, (root / "medium1").read_bytes())
    in_large = next(
        chunk_id
        for chunk_id in scene.data_chunks()
        if len(scene.server.chunks[chunk_id]) > 200 * 1024
    )
    for chunk_id in (victim, in_large):
        sealed = scene.server.chunks.pop(chunk_id)
        if damage == "damaged":
            scene.server.chunks[chunk_id] = sealed[:-1] + bytes([sealed[-1] ^ 1])
    result = await scene.restore(generation, target)
    top = inside(target, root)
    assert sorted(os.listdir(top)) == ["medium0", "small"]
    assert sorted(warning.split(":")[0] for warning in scene.warnings) == [
        str(root / "large"),
        str(root / "medium1"),
    ]
    word = "is missing on the server" if damage == "missing" else "is damaged"
    assert all("not restored: chunk 01" in warning for warning in scene.warnings)
    assert all(warning.endswith(word) for warning in scene.warnings)
    assert (result.files, result.warnings) == (2, 2)


@ensureDeferred
async def test_a_file_that_could_not_be_read_is_named(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "good").write_bytes(b"good")
    (root / "bad").write_bytes(b"bad")
    opened = os.open

    def deny(path: Any, *arguments: Any, **more: Any) -> int:
        if path == b"bad":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *arguments, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", deny)
        generation = await scene.back_up(root)
    result = await scene.restore(generation, target)
    assert os.listdir(inside(target, root)) == ["good"]
    assert result.warnings == 1
    assert scene.warnings[0].startswith(f"{root / 'bad'}: not restored: could not be read when")


@ensureDeferred
async def test_a_full_disk_ends_it(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_bytes(b"content")
    generation = await scene.back_up(root)

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(TargetFull, match="no space left"):
            await scene.restore(generation, target)
    assert os.listdir(inside(target, root)) == []


@ensureDeferred
async def test_a_write_that_is_cut_short_is_finished(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "file").write_bytes(b"content")
    generation = await scene.back_up(root)
    pwrite = os.pwrite

    def half(descriptor: int, data: Any, offset: int) -> int:
        return pwrite(descriptor, data[:3], offset)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", half)
        await scene.restore(generation, target)
    assert inside(target, root / "file").read_bytes() == b"content"


@ensureDeferred
async def test_a_large_file_that_is_given_up_leaves_nothing(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "large").write_bytes(LARGE)
    generation = await scene.back_up(root)
    await scene.generations.database(await scene.generations.get(generation))

    def lost(self: object, ids: object, into: object) -> None:
        raise NotFound("the chunks")

    monkeypatch.setattr(type(scene.repository), "fetch", lost)
    with pytest.raises(NotFound):
        await scene.restore(generation, target)
    assert os.listdir(inside(target, root)) == []


@ensureDeferred
async def test_verify_finds_what_the_disk_made_of_it(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "good").write_bytes(b"good")
    (root / "bad").write_bytes(b"right")
    generation = await scene.back_up(root)
    sync = os.sync

    def spoil() -> None:
        inside(target, root / "bad").write_bytes(b"wrong")
        sync()

    monkeypatch.setattr(os, "sync", spoil)
    result = await scene.restore(generation, target, verify=True)
    assert result.warnings == 1
    assert scene.warnings[0].startswith(f"{root / 'bad'}: what was restored of it does not read")


@ensureDeferred
async def test_owners_that_cannot_be_set_are_told_once(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (root / name).write_bytes(b"content")
    if os.geteuid() != 0:
        pytest.skip("only root can make files of others")
    shutil.chown(root / "a", 4711)
    shutil.chown(root / "b", 4711)
    generation = await scene.back_up(root)

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    result = await scene.restore(generation, target)
    assert result.files == 2
    assert len(scene.warnings) == result.warnings == 1
    assert "the owner or group of 2 entries could not be set" in scene.warnings[0]


@ensureDeferred
async def test_permissions_that_cannot_be_set_are_told_once(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (root / name).write_bytes(b"content")
    generation = await scene.back_up(root)

    def refuse(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "chmod", refuse)
    result = await scene.restore(generation, target)
    assert (inside(target, root) / "a").read_bytes() == b"content"
    assert (result.files, result.lost) == (2, 0)
    (warning,) = scene.warnings
    assert "the permissions of " in warning
    assert "could not be set" in warning


@ensureDeferred
async def test_a_large_file_that_is_not_what_it_was_is_not_kept(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "large").write_bytes(LARGE)
    generation = await scene.back_up(root)
    monkeypatch.setattr("obnam.pool.write_files.read_checksum", lambda _: b"another")
    result = await scene.restore(generation, target)
    assert (result.files, len(scene.warnings)) == (0, 1)
    assert list(inside(target, root).iterdir()) == []
    assert [link for link in left_open(target) if "/large" in link.partition(str(target))[2]] == []


@ensureDeferred
async def test_no_more_room_between_the_extents_of_a_file(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, "sparse", (0, noise("a", 200_000)), (1 << 20, noise("b", 200_000)))
    generation = await scene.back_up(root)
    written: list[int] = []

    def write_at(descriptor: int, pieces: Sequence[memoryview], position: int) -> None:
        if position:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(position)

    monkeypatch.setattr("obnam.pool.write_files.write_at", write_at)
    with pytest.raises(TargetFull):
        await scene.restore(generation, target)
    assert written == [0]
    assert list(inside(target, root).iterdir()) == []


@ensureDeferred
async def test_what_a_directory_lacks_is_told(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "directory").mkdir()
    os.setxattr(root / "directory", "user.note", b"kept")
    generation = await scene.back_up(root)

    def refuse(*arguments: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "setxattr", refuse)
    result = await scene.restore(generation, target)
    assert result.warnings == 1
    (warning,) = scene.warnings
    assert "user.note of 1 entries could not be set" in warning
    assert str(root / "directory") in warning


@ensureDeferred
async def test_a_directory_whose_times_cannot_be_set_is_told_of(
    scene: Scene, root: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "directory").mkdir()
    os.utime(root / "directory", ns=(0, 77))
    generation = await scene.back_up(root)
    utime = os.utime

    def refuse(place: Any, *times: Any, **more: Any) -> None:
        if more.get("ns") == (77, 77):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        utime(place, *times, **more)

    monkeypatch.setattr(os, "utime", refuse)
    result = await scene.restore(generation, target)
    assert result.warnings == 1
    (warning,) = scene.warnings
    assert "its metadata could not be set: input/output error" in warning
