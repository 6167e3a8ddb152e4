"""What fails ends when the jobs are over that it had begun, and cleans up after them."""

import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred

from obnam.errors import TargetFull
from obnam.live.overwrite import Overwrite
from obnam.pool.pool import WorkerDied
from obnam.restore import half_written
from tests.support.late_pool import LatePool
from tests.support.memory_scene import Scene
from tests.unit.pool.conftest import left_open
from tests.unit.restore.trees import LARGE, inside

reactor: Any = global_reactor

TURNS = 20
"""More calls than anything makes on its thread between a failure and its end."""


@pytest.fixture
def filled(root: Path) -> Path:
    (root / "large").write_bytes(LARGE)
    (root / "small").write_bytes(b"small")
    return root


@define
class Running:
    """Something on its way, and the pool that does its jobs."""

    scene: Scene
    pool: LatePool
    result: Deferred[Any]
    ended: list[object] = field(factory=list)

    def end(self, outcome: object) -> object:
        """Note it."""
        self.ended.append(outcome)
        return outcome

    async def has_ended(self) -> bool:
        """Whether it has, when it had time for all that it has to do on its thread."""
        for _ in range(TURNS):
            await self.scene.thread.call(os.getpid)
        return bool(self.ended)


async def begun(scene: Scene, doing: Coroutine[Any, Any, Any], *jobs: str) -> Running:
    """Begin something, up to where a job of each of these kinds is held."""
    scene.pool = pool = LatePool.of(reactor, scene.pool.tools, *jobs)
    running = Running(scene, pool, Deferred.fromCoroutine(doing))
    running.result.addBoth(running.end)
    await pool.all_held
    assert not running.ended
    return running


async def restore_begun(
    scene: Scene, filled: Path, target: Path, *jobs: str, verify: bool = False
) -> Running:
    """Begin to restore a backup of ``filled``."""
    generation = await scene.back_up(filled)
    return await begun(scene, scene.restore(generation, target, verify=verify), *jobs)


@ensureDeferred
async def test_a_restore_abandons_a_file_only_when_nobody_writes_to_it(
    scene: Scene, filled: Path, target: Path
) -> None:
    restoring = await restore_begun(scene, filled, target, "write_files", "write_part")
    restoring.pool.fail("write_files", TargetFull(str(target)))
    assert not await restoring.has_ended()
    assert os.listdir(inside(target, filled)) == ["large"]
    assert restoring.pool.finish("write_part") is None  # it was written to where it should be
    with pytest.raises(TargetFull):
        await restoring.result
    assert os.listdir(inside(target, filled)) == []


@ensureDeferred
async def test_what_a_dead_worker_has_left_half_is_named(
    scene: Scene, filled: Path, target: Path
) -> None:
    """Those that are whole, and those that are not there, are not."""
    for name in ("not yet", "whole"):
        (filled / name).write_bytes(b"all of it")
    restoring = await restore_begun(scene, filled, target, "write_files", "write_part")
    half, whole = (inside(target, filled / name) for name in ("small", "whole"))
    half.write_bytes(b"sm")
    shutil.copy2(filled / "whole", whole)
    restoring.pool.fail("write_files", WorkerDied())
    restoring.pool.finish("write_part")
    with pytest.raises(WorkerDied):
        await restoring.result
    assert [warning.split(": ")[0] for warning in scene.warnings] == [str(filled / "small")]
    assert "half of it may be there" in scene.warnings[0]


@ensureDeferred
async def test_not_very_many_are_named(
    scene: Scene, filled: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that were to be replaced nobody knows which were."""
    monkeypatch.setattr(half_written, "NAMED_MAX", 3)
    for number in range(10):
        (filled / f"{number}").write_bytes(b"new")
    generation = await scene.back_up(filled)
    above = inside(target, filled)
    above.mkdir(parents=True)
    for number in range(10):
        (above / f"{number}").write_bytes(b"old one")
    doing = scene.restore(generation, target, overwrite=Overwrite.ALWAYS)
    restoring = await begun(scene, doing, "write_files", "write_part")
    restoring.pool.fail("write_files", WorkerDied())
    restoring.pool.finish("write_part")
    with pytest.raises(WorkerDied):
        await restoring.result
    assert len(scene.warnings) == 4
    assert "and so for 7 more" in scene.warnings[-1]


@ensureDeferred
async def test_a_restore_that_is_cancelled(scene: Scene, filled: Path, target: Path) -> None:
    restoring = await restore_begun(scene, filled, target, "write_part", "write_files")
    restoring.result.cancel()
    restoring.pool.finish("write_files")
    assert not await restoring.has_ended()
    assert restoring.pool.finish("write_part") is None
    with pytest.raises(CancelledError):
        await restoring.result
    assert os.listdir(inside(target, filled)) == ["small"]


@ensureDeferred
async def test_a_restore_that_is_cancelled_while_it_waits_for_jobs(
    scene: Scene, filled: Path, target: Path
) -> None:
    """It waits no longer, and still leaves no half file; who comes late finds none."""
    restoring = await restore_begun(scene, filled, target, "write_files", "write_part")
    restoring.pool.fail("write_files", TargetFull(str(target)))
    assert not await restoring.has_ended()
    restoring.result.cancel()
    with pytest.raises(CancelledError):
        await restoring.result
    assert restoring.pool.finish("write_part") == "no such file or directory"
    assert os.listdir(inside(target, filled)) == []


@ensureDeferred
async def test_reading_back_that_fails(scene: Scene, filled: Path, target: Path) -> None:
    restoring = await restore_begun(scene, filled, target, "read_back", verify=True)
    restoring.result.cancel()
    assert not await restoring.has_ended()
    assert restoring.pool.finish("read_back") == []
    with pytest.raises(CancelledError):
        await restoring.result


@ensureDeferred
async def test_a_verification_that_fails(scene: Scene, filled: Path) -> None:
    generation = await scene.back_up(filled)
    verifying = await begun(scene, scene.verify(generation), "check_files", "open_part")
    verifying.pool.fail("check_files", WorkerDied())
    assert not await verifying.has_ended()
    assert verifying.pool.finish("open_part").trouble is None  # its slab was still there
    with pytest.raises(WorkerDied):
        await verifying.result


@pytest.mark.parametrize(
    ("dying", "last"), [("name_bundle", "name_part"), ("name_part", "name_bundle")]
)
@ensureDeferred
async def test_a_backup_that_fails(scene: Scene, filled: Path, dying: str, last: str) -> None:
    backing_up = await begun(scene, scene.back_up(filled), dying, last)
    backing_up.pool.fail(dying, WorkerDied())
    assert not await backing_up.has_ended()
    backing_up.pool.finish(last)
    with pytest.raises(WorkerDied):
        await backing_up.result


@ensureDeferred
async def test_a_backup_that_fails_while_it_seals(scene: Scene, filled: Path) -> None:
    backing_up = await begun(scene, scene.back_up(filled), "name_bundle", "seal_pieces")
    backing_up.pool.fail("name_bundle", WorkerDied())
    assert not await backing_up.has_ended()
    assert backing_up.pool.finish("seal_pieces") > 0
    with pytest.raises(WorkerDied):
        await backing_up.result


@pytest.mark.parametrize("goes_on", [True, False])
@ensureDeferred
async def test_a_file_that_the_user_puts_there_meanwhile_is_his(
    scene: Scene, filled: Path, target: Path, goes_on: bool
) -> None:
    """In the place of one that is half restored: it is neither written to nor removed."""
    restoring = await restore_begun(scene, filled, target, "write_part", "write_files")
    his = inside(target, filled / "large")
    his.unlink()
    his.write_bytes(b"mine")
    if goes_on:
        restoring.pool.finish("write_files")
    else:
        restoring.pool.fail("write_files", WorkerDied())
    assert "replaced" in restoring.pool.finish("write_part")
    if goes_on:
        assert (await restoring.result).files == 1
        assert [each for each in scene.warnings if "replaced while it was restored" in each]
    else:
        with pytest.raises(WorkerDied):
            await restoring.result
    assert his.read_bytes() == b"mine"
    assert not [each for each in left_open(target) if "/large" in each]
