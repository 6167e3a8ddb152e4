"""Repositories that earlier versions made: everything in them comes back, and they go on."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.acceptance.computer import COMMANDS, Computer
from tests.compat.sample import LIVE, PASSPHRASE, REPOSITORY, Described, described

SAMPLES = sorted(Path(__file__).parent.glob("repository-*.tar.xz"))


@pytest.fixture(params=SAMPLES, ids=lambda path: path.name)
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A sample, unpacked."""
    with tarfile.open(request.param) as packed:
        packed.extractall(tmp_path, filter="tar")
    return tmp_path / REPOSITORY


@pytest.fixture
def expected(sample: Path, request: pytest.FixtureRequest) -> dict[str, Described]:
    """What each generation must bring back, oldest first."""
    name = request.node.callspec.params["sample"].name
    text = Path(__file__).with_name(name.replace(".tar.xz", ".json")).read_text()
    found: dict[str, Described] = json.loads(text)
    return found


def joined(sample: Path, tmp_path: Path) -> Computer:
    """Another computer, with nothing but the repository and the passphrase."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    computer = Computer.new(tmp_path / "computer")
    computer.obnam("init", "--repository", str(sample), "--passphrase-file", str(passphrase))
    return computer


def test_everything_comes_back(
    sample: Path, expected: dict[str, Described], tmp_path: Path
) -> None:
    computer = joined(sample, tmp_path)
    for generation, entries in expected.items():
        target = tmp_path / generation
        computer.obnam("restore", generation, str(target), "--verify")
        assert described(target / LIVE.relative_to("/")) == entries
        computer.obnam("verify", generation)


def test_it_goes_on(sample: Path, expected: dict[str, Described], tmp_path: Path) -> None:
    """New backups, an index made anew, a check of the server's: beside what was there."""
    computer = joined(sample, tmp_path)
    (computer.live / "file").write_text("new")
    computer.backup()
    for command in (("rebuild-index",), ("check", "default")):
        administrator = (COMMANDS / "obnam-server", "--data-directory", sample)
        subprocess.run([*administrator, *command], check=True, stdout=subprocess.DEVNULL)
    assert len(computer.obnam("list").lines) == 1 + len(expected)
    for generation in expected:
        computer.obnam("verify", generation)
    (computer.live / "file").write_text("changed")
    computer.backup()
    assert (computer.restored() / "file").read_text() == "changed"
