"""Which databases are opened, and what is said of the others."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from obnam.errors import DamagedGeneration, UnknownFormat
from obnam.generation import schema
from obnam.generation.local import LocalGeneration
from obnam.generation.nascent import NascentGeneration
from tests.unit.generation.rows import directory_row, finished


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "database"
    finished(path, lambda nascent: nascent.put([directory_row(0, b"/root", 1)])).close()
    return path


def change(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


OPENERS = [
    schema.open_to_read,
    schema.open_to_change,
    LocalGeneration,
    lambda path: NascentGeneration.begin_from(path, 2),
]


@pytest.fixture(params=OPENERS, ids=["read", "change", "local", "nascent"])
def opener(request: pytest.FixtureRequest) -> Callable[[Path], object]:
    opener: Callable[[Path], object] = request.param
    return opener


def test_what_was_made_is_opened(path: Path) -> None:
    local = LocalGeneration(path)
    assert local.meta["schema_version_major"] == schema.MAJOR
    assert local.meta["schema_version_minor"] == schema.MINOR
    assert local.sequence == 1
    local.close()


def test_pages_and_mode_are_as_documented(path: Path) -> None:
    header = path.read_bytes()[:100]
    assert int.from_bytes(header[16:18], "big") == schema.PAGE_BYTES == 4096
    assert header[68:72] == b"OBNM" == schema.APPLICATION_ID.to_bytes(4, "big")
    assert path.stat().st_size % schema.PAGE_BYTES == 0
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_is_made_over_a_file(path: Path) -> None:
    with pytest.raises(FileExistsError):
        NascentGeneration.create(path, 1)


@pytest.mark.parametrize(("name", "version"), [("major", "2.0"), ("minor", "1.1")])
def test_a_newer_schema_is_refused(
    path: Path, opener: Callable[[Path], object], name: str, version: str
) -> None:
    change(path, f"UPDATE meta SET value = value + 1 WHERE name = 'schema_version_{name}'")
    with pytest.raises(UnknownFormat, match=f"format {version}, this Obnam knows 1.0"):
        opener(path)


def test_an_older_minor_version_is_understood(
    path: Path, opener: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "MINOR", 3)
    opened = opener(path)
    opened.close()  # type: ignore[attr-defined]


def test_another_major_version_is_not(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MAJOR", 2)
    with pytest.raises(UnknownFormat):
        LocalGeneration(path)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM meta WHERE name = 'schema_version_minor'",
        "UPDATE meta SET value = 'x' WHERE name = 'schema_version_minor'",
        "DROP TABLE meta",
        "PRAGMA application_id = 1",
    ],
)
def test_what_is_no_generation_database(
    path: Path, opener: Callable[[Path], object], damage: str
) -> None:
    change(path, damage)
    with pytest.raises(DamagedGeneration):
        opener(path)


@pytest.mark.parametrize("content", [b"", b"not a database " * 1000, None])
def test_what_is_no_database(
    tmp_path: Path, opener: Callable[[Path], object], content: bytes | None
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedGeneration):
        opener(path)


@pytest.mark.parametrize("name", ["sequence", "next_chunk"])
def test_what_does_not_know_itself(path: Path, name: str) -> None:
    change(path, f"DELETE FROM meta WHERE name = '{name}'")
    with pytest.raises(DamagedGeneration):
        LocalGeneration(path) if name == "sequence" else NascentGeneration.begin_from(path, 2)


def test_damage_within_is_told_when_it_is_met(path: Path) -> None:
    data = bytearray(path.read_bytes())
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    found = [number for number, page in enumerate(pages) if b"/root" in page]
    for number in found:
        data[number * 4096 : number * 4096 + 100] = b"\xff" * 100
    path.write_bytes(data)
    assert found
    local = LocalGeneration(path)
    with pytest.raises(DamagedGeneration):
        list(local.walk())
    local.close()


def test_nothing_is_changed_through_a_local_generation(path: Path) -> None:
    connection = schema.open_to_read(path)
    with pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM entry")
    connection.close()
