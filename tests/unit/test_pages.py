"""The pages say what the code says: paths that they name exist, errors are all in the table."""

import re
from pathlib import Path

import pytest

from obnam import errors

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


def test_every_error_is_in_the_table_of_its_exit_code() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    failed, usage = text.split("## Failed: 1")[1].split("## Wrong usage: 2")
    for name, error in vars(errors).items():
        if not isinstance(error, type) or not issubclass(error, errors.ObnamError):
            continue
        if error is errors.ObnamError:
            continue
        table = {1: failed, 2: usage}[error.exit_code]
        row = next((line for line in table.splitlines() if f"`{name}`" in line), None)
        assert row is not None, f"{name} is not in the table for {error.exit_code}"
        if error.exit_code == 1:
            assert row.endswith("| yes |") == error.temporary, name
