"""The pages say what the code says: paths that they name exist, errors are all in the table."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from obnam import errors, history_errors
from obnam_server.store import errors as store_errors
from obnam_server.upkeep import policy

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT)
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if "_build" not in path.parts
)
PATH = re.compile(r"`((?:obnam|obnam_server|tests|docs|benchmarks|demo)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_paths_in_pages_exist(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {ROOT / path for path in PATH.findall(text)}
    linked = {(ROOT / page).parent / path for path in LINK.findall(text)}
    missing = sorted(str(path) for path in named | linked if not path.exists())
    assert missing == []


MODULE = re.compile(r"`([\w/]+\.(?:py|sql))`")
"""A file of the code by the end of its path, where the folder is plain from what stands before."""


def test_modules_in_pages_exist() -> None:
    folders = ("obnam", "obnam_server", "twisted", "tests", "benchmarks", "demo", "docs")
    there = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    ends = {"/".join(path.parts[-count:]) for path in there for count in range(1, 4)}
    for page in PAGES:
        for name in MODULE.findall((ROOT / page).read_text(encoding="utf-8")):
            assert name in ends or (ROOT / name).exists(), f"{page}: {name}"


TEST = re.compile(r"`(?:(tests/[\w/]*/)?(test_\w+\.py)|(test_\w+))`")
"""The file of a test, with or without its folder; or a function in the file named before."""


def named_tests(text: str) -> Iterator[tuple[Path, str | None]]:
    """Files, and functions in them. Fails where there is no such one, or more than one."""
    file: Path | None = None
    for folder, name, function in TEST.findall(text):
        if name:
            found = [ROOT / folder / name] if folder else [*(ROOT / "tests").rglob(name)]
            assert len(found) == 1, f"{name} is in more than one folder, or in none"
            (file,) = found
            assert file.is_file(), file
            yield file, None
        else:
            assert file is not None, f"{function} stands behind no file"
            yield file, function


def test_tests_in_pages_exist() -> None:
    for page in PAGES:
        for file, function in named_tests((ROOT / page).read_text(encoding="utf-8")):
            text = file.read_text(encoding="utf-8")
            if function is None:
                assert re.search(r"(?m)^(?:async )?def test_|^Test\w+ = |^class Test", text), file
            else:
                assert re.search(rf"(?m)^(?:async )?def {function}\(", text), (file, function)


NOT_FOUND_OUT = "not found out"
"""What the threat model says of an attack that no test can show."""


def test_each_attack_names_the_test_that_shows_it() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = []
    for table in text.split("| shown by |\n")[1:]:
        lines = table.partition("\n\n")[0].splitlines()
        rows += lines[1:]  # behind the rule
    assert len(rows) >= 20
    for row in rows:
        *_, comes_of_it, shown_by = row.strip().removesuffix("|").split("|")
        if not TEST.search(shown_by):
            assert NOT_FOUND_OUT in comes_of_it, row


ENDS_NO_COMMAND = {"ObnamError", "StoreError", "SetDiffers", "KeyringChanged"}
"""Those that others derive from; and what only a client is told, and makes an error of its own."""


@pytest.mark.parametrize("module", [errors, history_errors, store_errors, policy])
def test_every_error_is_in_the_table_of_its_exit_code(module: ModuleType) -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    failed, usage = text.split("## Failed: 1")[1].split("## Wrong usage: 2")
    for name, error in vars(module).items():
        if not isinstance(error, type) or not issubclass(error, errors.ObnamError):
            continue
        if name in ENDS_NO_COMMAND:
            continue
        table = {1: failed, 2: usage}[error.exit_code]
        row = next((line for line in table.splitlines() if f"`{name}`" in line), None)
        assert row is not None, f"{name} is not in the table for {error.exit_code}"
        if error.exit_code == 1:
            assert row.endswith("| yes |") == error.temporary, name
