"""The house stands as agreed: who may import whom, who holds the reactor, how things are called.

Read from the sources with `ast`, so an import inside a function counts like any other.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAM = ("obnam", "obnam_server", "twisted")
EVERYTHING = (*PROGRAM, "tests", "benchmarks")
LINES_MAX = 400

TIERS = (
    (
        "errors",
        "history_errors",
        "model",
        "memory",
        "open_files",
        "inodes",
        "lazy_group",
        "settings_file",
    ),
    ("wire", "transport", "chunking", "crypto"),
    ("live", "generation", "progress", "pool", "repository"),
    ("backup", "restore", "verify", "browse"),
    ("config", "credentials", "wiring", "enrolling", "rotating"),
    ("cli",),
)
"""Each may import those above it, and within its tier as long as there is no circle."""

RANK = {layer: rank for rank, tier in enumerate(TIERS) for layer in tier}

STORE_TIERS = (
    ("errors", "reservations"),
    ("seams", "disk"),
    ("segments", "accounts"),
    ("index",),
    ("generations",),
    ("upkeep",),
    ("repository",),
    ("store", "event_queue"),
    ("rebuild", "quotas", "figures", "alarms"),
)
"""Likewise for the parts of the server's store; of the server's, they import no others."""

STORE_RANK = {part: rank for rank, tier in enumerate(STORE_TIERS) for part in tier}
SHARED_WITH_SERVER = (
    "errors",
    "model",
    "memory",
    "open_files",
    "inodes",
    "lazy_group",
    "settings_file",
    "wire",
    "transport",
)
REACTOR_HOLDERS = ("obnam/cli/main.py", "obnam_server/tap.py")
CRYPTO_LIBRARIES = ("nacl", "blake3")

# Blocking or pure: none of these knows Twisted. Of `wire`, the interfaces do: they say Deferred.
WITHOUT_TWISTED = (
    "obnam/errors.py",
    "obnam/history_errors.py",
    "obnam/lazy_group.py",
    "obnam/settings_file.py",
    "obnam/model/",
    "obnam/wire/",
    "obnam/chunking/",
    "obnam/crypto/",
    "obnam/live/",
    "obnam/generation/",
    "obnam_server/sharing/",
    "obnam_server/store/",
    "obnam_server/upkeep/periods.py",
    "obnam_server/upkeep/policy.py",
    "obnam_server/upkeep/retention",
)
BUT_FOR = (
    "obnam/wire/interfaces.py",
    "obnam_server/sharing/queues.py",
    "obnam_server/sharing/sources.py",
)
FORBIDDEN_WORD = re.compile(r"(blob|block|snapshot|archive|vault|util|helper|manager)s?")


def modules(*folders: str) -> list[str]:
    """Paths of all modules in these folders, relative to the project."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in found)


def imports(source: str) -> Iterator[str]:
    """Full dotted names of all that a module imports; a relative import begins with a dot."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_in(name: str, package: str) -> bool:
    """Whether the dotted name is the package or something in it."""
    return name == package or name.startswith(package + ".")


def part_of(path: str, package: str) -> str | None:
    """The part of a package (a folder, or a module beside it) that a module belongs to."""
    if not path.startswith(package + "/"):
        return None
    part = Path(path).relative_to(package).with_suffix("").parts[0]
    return part if part != "__init__" else None


def layer_of(path: str) -> str | None:
    """The layer of ``obnam`` that a module belongs to, or ``None``."""
    return part_of(path, "obnam")


def import_problems(path: str, source: str) -> list[str]:
    """What is wrong with the imports of one module."""
    problems = []
    own = layer_of(path)
    server = path.startswith("obnam_server/")
    stored = part_of(path, "obnam_server/store")
    for name in imports(source):
        parts = name.split(".")
        if name.startswith(".") or parts[-1] == "*":
            problems.append(f"{name}: write imports out in full")
        if is_in(name, "obnam") and name != "obnam.__version__":
            if len(parts) < 2 or parts[1] not in RANK:
                problems.append(f"{name}: not a layer that there is")
            elif server and parts[1] not in SHARED_WITH_SERVER:
                problems.append(f"{name}: the server may not use it")
            elif own is not None and RANK.get(own, -1) < RANK[parts[1]]:
                problems.append(f"{name}: {own} stands below {parts[1]}")
        if stored is not None and is_in(name, "obnam_server"):
            needed = parts[2] if parts[1] == "store" and len(parts) > 2 else ""
            if needed not in STORE_RANK:
                problems.append(f"{name}: not a part of the store")
            elif STORE_RANK.get(stored, -1) < STORE_RANK[needed]:
                problems.append(f"{name}: {stored} stands below {needed}")
        if own is not None and is_in(name, "obnam_server"):
            problems.append(f"{name}: the client does not know the server's code")
        if is_in(name, "twisted.internet.reactor") and path not in REACTOR_HOLDERS:
            problems.append(f"{name}: the reactor is an argument")
        if parts[0] in CRYPTO_LIBRARIES and own != "crypto":
            problems.append(f"{name}: only obnam.crypto uses it")
        if parts[0] == "twisted" and path.startswith(WITHOUT_TWISTED) and path not in BUT_FOR:
            problems.append(f"{name}: this layer does without Twisted")
    return problems


def words(name: str) -> list[str]:
    """The words of a CamelCase or snake_case name, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def name_problems(path: str, source: str) -> list[str]:
    """Modules, folders and classes called by a word that the design does not use."""
    names = list(Path(path).with_suffix("").parts)
    names += [node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    return [name for name in names if any(map(FORBIDDEN_WORD.fullmatch, words(name)))]


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Those in a circle of imports, or leaning on one: what no cutting off of ends removes."""
    left = {layer: set(targets) for layer, targets in edges.items()}
    while ends := [layer for layer, targets in left.items() if not targets & left.keys()]:
        for layer in ends:
            del left[layer]
    return sorted(left)


def text_of(path: str) -> str:
    return (ROOT / path).read_text("utf-8")


@pytest.mark.parametrize("path", modules(*PROGRAM))
def test_imports_and_names(path: str) -> None:
    source = text_of(path)
    assert import_problems(path, source) == []
    assert name_problems(path, source) == []


@pytest.mark.parametrize("package", ["obnam", "obnam_server", "obnam_server/store"])
def test_no_circles_between_the_parts_of(package: str) -> None:
    dotted = package.replace("/", ".")
    edges: dict[str, set[str]] = {}
    for path in modules(package):
        own = part_of(path, package)
        if own is not None:
            targets = {
                name.removeprefix(dotted + ".").split(".")[0]
                for name in imports(text_of(path))
                if is_in(name, dotted)
            }
            edges.setdefault(own, set()).update(targets - {own})
    assert circles(edges) == []


def test_no_circles_between_modules() -> None:
    """Not for types either: two that cannot be read one after the other are one."""
    paths = {path.removesuffix(".py").replace("/", "."): path for path in modules(*PROGRAM)}
    edges: dict[str, set[str]] = {}
    for module, path in paths.items():
        named = set(imports(text_of(path)))
        # Of what is imported from a module, the name ends with what is in it.
        edges[module] = (named | {name.rpartition(".")[0] for name in named}) & paths.keys()
    assert circles(edges) == []


@pytest.mark.parametrize(
    ("package", "ranks"), [("obnam", RANK), ("obnam_server/store", STORE_RANK)]
)
def test_every_part_has_its_tier(package: str, ranks: dict[str, int]) -> None:
    parts = {part_of(path, package) for path in modules(package)} - {None}
    assert parts == ranks.keys()


@pytest.mark.parametrize("folder", EVERYTHING)
def test_no_module_is_too_long(folder: str) -> None:
    lengths = {path: len(text_of(path).splitlines()) for path in modules(folder)}
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_the_plugin_folders_are_no_packages() -> None:
    """An ``__init__.py`` there would hide Twisted itself."""
    assert not list((ROOT / "twisted").rglob("__init__.py"))


# That the rules above can be broken


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("obnam/model/x.py", "from obnam.wire import frames"),
        ("obnam/crypto/x.py", "import obnam.pool.pool"),
        ("obnam/backup/x.py", "def f():\n    from obnam import cli"),
        ("obnam/pool/x.py", "from obnam.config import Settings"),
        ("obnam/cli/x.py", "from obnam import nothing_there"),
        ("obnam/cli/x.py", "import obnam"),
        ("obnam/cli/x.py", "from obnam_server.tap import Options"),
        ("obnam/model/x.py", "from . import ids"),
        ("obnam/model/x.py", "from attrs import *"),
        ("obnam/live/x.py", "import nacl.bindings"),
        ("obnam/pool/x.py", "from blake3 import blake3"),
        ("obnam/live/x.py", "from twisted.internet import defer"),
        ("obnam/wire/frames.py", "from twisted.internet import defer"),
        ("obnam/backup/x.py", "from twisted.internet import reactor"),
        ("obnam/cli/status.py", "import twisted.internet.reactor"),
        ("obnam_server/x.py", "from obnam.crypto import keys"),
        ("obnam_server/x.py", "from nacl import utils"),
        ("obnam_server/store/index/x.py", "from twisted.internet import defer"),
        ("obnam_server/store/index/x.py", "from obnam_server.work import Work"),
        ("obnam_server/store/index/x.py", "from obnam_server.store.upkeep import damage"),
        ("obnam_server/store/x.py", "from obnam_server.store.index import chunks"),
        ("obnam_server/service.py", "from twisted.internet import reactor"),
    ],
)
def test_bad_imports_are_found(path: str, source: str) -> None:
    assert len(import_problems(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("obnam/crypto/x.py", "import nacl, blake3\nfrom obnam.wire.messages import KeyringSlot"),
        ("obnam/backup/x.py", "from obnam.pool import pool\nfrom obnam.backup import plan"),
        ("obnam/cli/main.py", "from twisted.internet import reactor\nfrom obnam import wiring"),
        ("obnam/wire/interfaces.py", "from twisted.internet.defer import Deferred"),
        ("obnam_server/tap.py", "from twisted.internet import reactor"),
        ("obnam_server/x.py", "from obnam.wire import frames\nimport obnam_server.store.index"),
        ("obnam_server/store/index/x.py", "from obnam_server.store.segments import format"),
    ],
)
def test_good_imports_are_fine(path: str, source: str) -> None:
    assert import_problems(path, source) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("obnam/model/utils.py", ""),
        ("obnam/blobs/x.py", ""),
        ("obnam/pool/slab_manager.py", ""),
        ("obnam/pool/x.py", "class BlockReader: pass"),
        ("obnam/pool/x.py", "def f():\n    class HTTPHelper: pass"),
        ("obnam/pool/x.py", "class SNAPSHOT: pass"),
    ],
)
def test_bad_names_are_found(path: str, source: str) -> None:
    assert len(name_problems(path, source)) == 1


def test_good_names_are_fine() -> None:
    assert name_problems("obnam/live/blocking.py", "class Utility: pass\nblock = 1") == []


def test_circles_are_found() -> None:
    edges = {"pool": {"live"}, "live": {"generation"}, "generation": {"pool"}, "wire": {"pool"}}
    assert circles(edges) == ["generation", "live", "pool", "wire"]
    assert circles({"pool": {"live"}, "live": set(), "wire": {"pool", "live"}}) == []
