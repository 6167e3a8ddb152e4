"""The package as `pip install` leaves it: commands and plugin are found from anywhere."""

import os
import subprocess
import sys
import sysconfig
from importlib.metadata import requires
from pathlib import Path

import pytest

import obnam

COMMANDS = Path(sys.executable).parent
LINKED = any(Path(sysconfig.get_path("purelib")).glob("__editable__*obnam*"))


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run an installed command in a folder, with no way to the checkout."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [COMMANDS / command[0], *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.skipif(LINKED, reason='an "editable" install hides twistd plugins; see make test')
def test_twistd_finds_the_server_from_another_directory(tmp_path: Path) -> None:
    finished = run(tmp_path, "twistd", "obnam-server", "--help")
    assert finished.returncode == 0, finished.stderr
    assert "--config" in finished.stdout


@pytest.mark.parametrize("command", ["obnam", "obnam-server"])
def test_commands_introduce_themselves(tmp_path: Path, command: str) -> None:
    finished = run(tmp_path, command, "--help")
    assert finished.returncode == 0, finished.stderr
    assert f"Usage: {command}" in finished.stdout


@pytest.mark.skipif("PYTHONPATH" in os.environ, reason="the caller said what to import")
def test_tests_import_what_is_installed(tmp_path: Path) -> None:
    finished = run(tmp_path, "python", "-c", "import obnam; print(obnam.__file__)")
    assert finished.stdout.strip() == obnam.__file__


def test_data_files_come_with_the_code(tmp_path: Path) -> None:
    """Schemas and the typing mark are easily forgotten in ``package_data``."""
    wanted = "obnam/py.typed obnam/generation/sql obnam_server/store/sql"
    program = (
        "import sys; from importlib.resources import files\n"
        "for path in sys.argv[1:]:\n"
        "    package, *rest = path.split('/')\n"
        "    found = files(package).joinpath(*rest)\n"
        "    sql = found.is_dir() and any(n.name.endswith('.sql') for n in found.iterdir())\n"
        "    assert found.is_file() or sql, path\n"
    )
    finished = run(tmp_path, "python", "-c", program, *wanted.split())
    assert finished.returncode == 0, finished.stderr


def test_every_requirement_is_pinned() -> None:
    """What is installed here from setup.py's lists has its exact version in constraints.txt."""
    lines = Path(__file__).parents[2].joinpath("constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    needed = set()
    for requirement in requires("obnam") or []:
        name = requirement.partition(";")[0]
        for mark in "[<>=! ":
            name = name.partition(mark)[0]
        needed.add(name.lower().replace("_", "-"))
    assert needed
    assert needed - pinned == set()
