import os
import stat
from pathlib import Path

import pytest
from attrs import evolve

from obnam import credentials
from obnam.credentials import Credentials, Location
from obnam.crypto.keys import MasterKey
from obnam.errors import ConfigurationError
from obnam.model.ids import ClientName, RepositoryName


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets.yaml"


def some(location: Location) -> Credentials:
    master = MasterKey(bytes(range(32)))
    return Credentials(location, ClientName("laptop"), RepositoryName("home"), "to-ken", master)


@pytest.mark.parametrize(
    "location",
    [
        Location(url="https://x:1", pin="pin"),
        Location(url="https://x:1"),
        Location(directory=Path("/media/\u00fc: 'x'")),
    ],
)
def test_what_is_saved_is_loaded(path: Path, location: Location) -> None:
    os.umask(os.umask(0))
    credentials.save(path, some(location))
    assert credentials.load(path) == some(location)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_the_servers_key(path: Path) -> None:
    """It is kept; files from before there was one have none; and no other thing is one."""
    known = evolve(some(Location(url="https://x:1")), server_key=bytes(range(32)))
    credentials.save(path, known)
    assert credentials.load(path) == known
    text = path.read_text()
    line = next(each for each in text.splitlines() if each.startswith("server_key:"))
    path.write_text(text.replace(line, ""))
    assert credentials.load(path) == evolve(known, server_key=None)
    for wrong in ("7", "'00'", "'junk'", "[]"):
        path.write_text(text.replace(line, f"server_key: {wrong}"))
        with pytest.raises(ConfigurationError, match="is damaged"):
            credentials.load(path)


def test_nothing_is_shown_by_accident(path: Path) -> None:
    shown = repr(some(Location(url="https://x:1")))
    assert "to-ken" not in shown
    assert "secret=" not in shown


def test_one_that_is_there_is_never_replaced(path: Path) -> None:
    path.write_text("dear")
    with pytest.raises(ConfigurationError, match="is there already"):
        credentials.save(path, some(Location(url="https://x:1")))
    assert path.read_text() == "dear"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_one_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    credentials.save(path, some(Location(url="https://x:1")))
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match="others can read it"):
        credentials.load(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: 1", "format: 2"),
        ("url: ", "no_url: "),
        ('url: "https://x:1"', "url: null"),
        ("repository_directory: null", 'repository_directory: "/x"'),
        ('client: "laptop"', 'client: "Lap top"'),
        ('token: "to-ken"', "token: 5"),
        ('token: "to-ken"', 'token: "a\\nb"'),
        ('master_key: "AAEC', 'master_key: "AA'),
        ('master_key: "AAEC', 'master_key: "*AEC'),
    ],
)
def test_damaged_ones(path: Path, old: str, new: str) -> None:
    credentials.save(path, some(Location(url="https://x:1")))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match="is damaged"):
        credentials.load(path)


@pytest.mark.parametrize("text", ["", "[]", "5", "null"])
def test_not_even_a_mapping(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="is damaged"):
        credentials.load(path)


def test_an_invitations_token_is_kept_for_the_next_try(path: Path) -> None:
    assert credentials.joining_token(path, "code", "first") == "first"
    assert credentials.joining_token(path, "code", "second") == "first"
    assert credentials.joining_token(path, "other code", "third") == "third"
    (note,) = path.parent.iterdir()
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    note.write_text('{"code": "other')
    assert credentials.joining_token(path, "other code", "fourth") == "fourth"
    credentials.forget_joining(path)
    assert list(path.parent.iterdir()) == []
    credentials.forget_joining(path)


def test_replaced(path: Path, tmp_path: Path) -> None:
    """Whole, private, through a link, and with nothing left beside it."""
    first = some(Location(url="https://x:1"))
    credentials.save(path, first)
    link = tmp_path / "elsewhere" / "secrets.yaml"
    link.parent.mkdir()
    link.symlink_to(path)
    os.umask(os.umask(0))
    for second in (evolve(first, next_token="other"), evolve(first, token="other")):
        credentials.replace(link, second)
        assert credentials.load(path) == credentials.load(link) == second
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert link.is_symlink()
    assert {p.name for p in tmp_path.iterdir()} == {"secrets.yaml", "elsewhere"}
    assert list(link.parent.iterdir()) == [link]


def test_replacing_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one stays."""
    credentials.save(path, some(Location(url="https://x:1")))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        credentials.replace(path, some(Location(url="https://y:1")))
    assert credentials.load(path) == some(Location(url="https://x:1"))


def test_next_token(path: Path) -> None:
    both = evolve(some(Location(url="https://x:1")), next_token="n-ext")
    credentials.save(path, both)
    assert credentials.load(path).tokens == ("to-ken", "n-ext")
    assert "n-ext" not in repr(both)


def test_held_by_one_at_a_time(path: Path) -> None:
    first = credentials.held(path)
    with first, pytest.raises(ConfigurationError, match="another obnam"), credentials.held(path):
        raise AssertionError
    with credentials.held(path):
        pass
