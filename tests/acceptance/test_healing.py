"""A server's disk goes bad: the scrub finds it, the next backup heals it, what remains is named."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from obnam.model.ids import RepositoryName
from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.store import Store
from tests.acceptance.computer import TWISTD, Computer, tree
from tests.support.scrubbed import flip, scrub_now
from tests.support.server_process import ServerProcess

MIB = 1 << 20
HOME = "home"


@define
class Scene:
    """A computer, and a server whose disk can be looked at."""

    computer: Computer
    server: ServerProcess

    @property
    def live(self) -> Path:
        return self.computer.live

    def segments(self) -> list[Path]:
        """The server's files, the largest first."""
        found = (self.server.data / "repositories" / HOME / "segments").glob("*/*")
        return sorted(found, key=lambda path: path.stat().st_size, reverse=True)

    def scrub(self) -> int:
        """Read all that is stored; how many chunks are damaged then.

        While the server is down, by the same code.
        """
        self.server.stop()
        store = Store.open(self.server.data, time.time_ns)
        repository = store.repository(RepositoryName(HOME))
        scrub_now(repository)
        found = repository.damaged_chunk_count()
        store.close()
        self.server.start()
        self.computer.configure([self.live], f"server_url: {self.server.url}\n")
        return found

    def damaged(self) -> int:
        """What ``status`` says."""
        return int(self.computer.obnam("--json", "status", code=3).json["damaged_chunks"])


@pytest.fixture
def scene(computer: Computer, tmp_path: Path) -> Iterator[Scene]:
    with ServerProcess(tmp_path / "server", program=TWISTD) as server:
        computer.obnam("init", server.invite("laptop", HOME), "--no-passphrase")
        yield Scene(computer, server)


def fill(live: Path) -> None:
    """Small files, which share chunks, and large ones, which have several."""
    (live / "small").mkdir()
    for number in range(200):
        (live / "small" / f"{number:03}").write_bytes(os.urandom(3000 + number))
    for name in ("large-1", "large-2"):
        (live / name).write_bytes(os.urandom(4 * MIB))


def flipped(path: Path) -> None:
    flip(path, path.stat().st_size // 3)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 3)


def deleted(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("harm", [cut, deleted], ids=lambda f: f.__name__)
def test_many_chunks_are_healed(scene: Scene, harm: Callable[[Path], None]) -> None:
    """All that was lost with a file of the server's comes back, for both generations."""
    fill(scene.live)
    first = tree(scene.live)
    scene.computer.backup()
    (scene.live / "later").write_text("later")
    harm(scene.segments()[0])
    found = scene.scrub()
    assert found > 1
    done = scene.computer.obnam("--json", "backup").json
    assert (done["warnings"], done["healed-chunks"]) == (0, found)
    assert scene.scrub() == 0
    assert tree(scene.computer.restored("latest")) == tree(scene.live)
    assert tree(scene.computer.restored("latest~1")) == first


def test_found_and_healed(scene: Scene) -> None:
    """Nothing has changed in the files: what was lost comes back, for both generations."""
    fill(scene.live)
    scene.computer.backup()
    (scene.live / "later").write_text("later")
    first = tree(scene.computer.restored())
    scene.computer.backup()
    flipped(scene.segments()[0])
    found = scene.scrub()
    assert found == 1

    assert scene.damaged() == found
    report = scene.computer.obnam("damage", code=1)
    assert report.value("status") == "DAMAGED"
    assert f"{scene.live}/" in report.out
    assert scene.computer.obnam("verify", code=1).value("status") == "DAMAGED"

    done = scene.computer.obnam("--json", "backup").json
    assert (done["warnings"], done["healed-chunks"], done["read-files"]) == (0, found, 0)

    assert scene.computer.obnam("--json", "status").json["damaged_chunks"] == 0
    assert scene.computer.obnam("damage").value("status") == "OK"
    assert scene.scrub() == 0
    for reference in ("latest", "latest~1", "latest~2"):
        assert scene.computer.obnam("verify", reference).value("status") == "OK"
    assert tree(scene.computer.restored("latest")) == tree(scene.live)
    assert tree(scene.computer.restored("latest~2")) == first
    assert set(scene.computer.reasons().values()) == {"unchanged"}


def test_what_cannot_be_healed_is_named(scene: Scene) -> None:
    """Of two generations, one has what is nowhere else any more."""
    fill(scene.live)
    # More than one upload can hold, however what is sealed is gathered.
    (scene.live / "large-3").write_bytes(os.urandom(9 * MIB))
    scene.computer.backup()
    (scene.live / "large-1").write_bytes(os.urandom(4 * MIB))
    (scene.live / "small" / "007").unlink()
    with_data = [path for path in scene.segments() if path.stat().st_size > 200_000]
    assert len(with_data) > 1
    scene.computer.backup()
    first, second = (scene.computer.obnam("resolve", r).lines[0] for r in ("latest~1", "latest"))
    for path in with_data:
        path.unlink()
    found = scene.scrub()
    assert scene.damaged() == found

    done = scene.computer.backup()
    assert done.value("warnings") == "0"

    left = scene.damaged()
    assert 0 < left < found
    report = scene.computer.obnam("--json", "damage", code=1).json
    assert report["status"] == "DAMAGED"
    named = {
        each["generation"]: {Path(file["path"]).relative_to(scene.live) for file in each["files"]}
        for each in report["generations"]
    }
    assert Path("large-1") in named[first]
    assert Path("small/007") in named[first]
    assert Path("large-2") not in named[first]
    assert Path("large-1") not in named.get(second, set())
    lines = scene.computer.obnam("damage", first[:12], code=1).out
    assert f"{scene.live}/large-1\n" in lines
    assert second not in lines

    assert scene.computer.obnam("verify").value("status") == "OK"
    assert tree(scene.computer.restored()) == tree(scene.live)
    lost = scene.computer.obnam("restore", first, str(scene.computer.folder / "old"), code=1)
    assert lost.value("status") == "INCOMPLETE"
    assert f"{scene.live}/large-1" in lost.err
    old = scene.computer.folder / "old" / scene.live.relative_to("/")
    assert (old / "large-2").read_bytes() == (scene.live / "large-2").read_bytes()
    scene.computer.backup()


def test_an_index_made_anew_knows_the_damage(scene: Scene) -> None:
    """``rebuild-index`` after the scrub, and after the segment was taken away."""
    fill(scene.live)
    scene.computer.backup()
    scene.segments()[0].unlink()
    found = scene.scrub()
    scene.server.stop()
    rebuild_index(scene.server.data, RepositoryName(HOME), time.time_ns)
    scene.server.start()
    scene.computer.configure([scene.live], f"server_url: {scene.server.url}\n")
    assert scene.damaged() == found
    done = scene.computer.obnam("--json", "backup").json
    assert done["healed-chunks"] == found
    assert scene.computer.obnam("verify", "latest~1").value("status") == "OK"
    assert tree(scene.computer.restored("latest~1")) == tree(scene.live)
