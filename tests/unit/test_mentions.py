"""What docstrings and comments name in backticks exists: a file, a module, a name of the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("obnam", "obnam_server", "twisted", "tests", "benchmarks", "demo")
CODE = sorted(
    path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
)

FILE = re.compile(r"`((?:obnam|obnam_server|tests|docs|benchmarks|demo)/[\w./-]*)`")
DOTTED = re.compile(r"(?<!`)`((?:obnam|obnam_server|tests)(?:\.\w+)+)`(?!`)")
NAME = re.compile(r"(?<!`)`([A-Za-z_]\w*(?:\.\w+)*)`(?!`)")
"""Single backticks are for names; what else is to stand out (a value, a path) has two."""

NO_NAMES = {"obnam.yaml", "manage"}
"""A file of the user's, and what help says of a scope."""


def names_of(tree: ast.AST) -> Iterator[str]:
    """Every name that a module defines, takes, imports or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield name
            case ast.AsyncFunctionDef(name=name):
                yield name
            case ast.alias(name=name) | ast.ImportFrom(module=str(name)):
                yield from name.split(".")
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


@pytest.fixture(scope="module")
def known() -> set[str]:
    """All names of the code, its modules, and their folders."""
    found = {part for path in CODE for part in path.with_suffix("").parts}
    for path in CODE:
        found.update(names_of(ast.parse((ROOT / path).read_text("utf-8"))))
    return found


def mentions(pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    """Where the pattern is found, and what stands there."""
    for path in CODE:
        for found in pattern.findall((ROOT / path).read_text("utf-8")):
            if found not in NO_NAMES:
                yield path, found


def module_of(dotted: str) -> tuple[Path, list[str]]:
    """The module that a dotted name begins with, and what in it is meant."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        for module in (place.with_suffix(".py"), place / "__init__.py"):
            if module.is_file():
                return module, parts[length:]
    raise AssertionError(f"{dotted} begins with no module")


def test_files() -> None:
    gone = [(str(path), file) for path, file in mentions(FILE) if not (ROOT / file).exists()]
    assert gone == []


def test_names_in_modules() -> None:
    found = list(mentions(DOTTED))
    assert len(found) > 20
    for path, dotted in found:
        module, rest = module_of(dotted)
        names = set(names_of(ast.parse(module.read_text("utf-8"))))
        assert set(rest) <= names, (path, dotted)


def test_names(known: set[str]) -> None:
    found = list(mentions(NAME))
    assert len(found) > 500
    unknown = [(str(path), name) for path, name in found if not known.issuperset(name.split("."))]
    assert unknown == []


def test_what_does_not_exist_is_found(known: set[str]) -> None:
    assert "SettingsFile" in known
    assert "known_to_nobody" not in known
    with pytest.raises(AssertionError):
        module_of("obnam_servers.nothing")
