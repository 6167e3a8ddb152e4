from pathlib import Path

import pytest

from obnam import config
from obnam.config import KEYS, Places, Settings
from obnam.crypto.envelope import Compression
from obnam.errors import ConfigurationError


def load(folder: Path, text: str) -> Settings:
    path = folder / "obnam.yaml"
    path.write_text(text)
    return config.load(path)


def test_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert settings == Settings()
    assert settings.compression == Compression(1)
    assert settings.cache_max_bytes == 1 << 30
    assert settings.exclude_cache_tag_directories is True
    assert settings.workers >= 1


def test_every_key(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "roots: [/srv]\n"
        "compression: none\n"
        "cache_max_bytes: 0\n"
        "exclude_cache_tag_directories: false\n"
        "workers: 7\n"
        "trusted_certificates: authority.pem\n"
        "server_url: https://backup.example.org:8443/\n"
        "upkeep_minutes: 30\n",
    )
    assert settings == Settings(
        roots=(b"/srv",),
        compression=Compression(None),
        cache_max_bytes=0,
        exclude_cache_tag_directories=False,
        workers=7,
        trusted_certificates=str(tmp_path / "authority.pem"),
        server_url="https://backup.example.org:8443",
        upkeep_minutes=30,
    )


@pytest.mark.parametrize(
    ("given", "root"),
    [
        ("'~'", b"/home/you"),
        ("~/x/", b"/home/you/x"),
        ("/", b"/"),
        ("//srv", b"/srv"),
        ("/var/../opt", b"/opt"),
        ("/grün", "/grün".encode()),
    ],
)
def test_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, root: bytes) -> None:
    monkeypatch.setenv("HOME", "/home/you")
    assert load(tmp_path, f"roots: [{given}]").roots == (root,)
    assert load(tmp_path, f"roots: {given}").roots == (root,)


@pytest.mark.parametrize(
    "roots", ["[/a, /a]", "[~]", "[/a/b, /a]", "[/, /a]", "[a]", "[1]", "['']"]
)
def test_bad_roots(tmp_path: Path, roots: str) -> None:
    with pytest.raises(ConfigurationError, match="roots: "):
        load(tmp_path, f"roots: {roots}")


def test_the_home_of_nobody(tmp_path: Path) -> None:
    """It does begin with ~, as names of roots must: so that is not what is said."""
    with pytest.raises(ConfigurationError, match=r"'~no-such-user/x': there is no such user"):
        load(tmp_path, "roots: [~no-such-user/x]")


def test_roots_that_only_look_alike(tmp_path: Path) -> None:
    assert load(tmp_path, "roots: [/a, /ab, /b/a]").roots == (b"/a", b"/ab", b"/b/a")


def test_the_template_can_be_read(tmp_path: Path) -> None:
    settings = load(tmp_path, config.TEMPLATE)
    assert len(settings.roots) == 1
    settings_only = [
        line.removeprefix("# ")
        for line in config.TEMPLATE.splitlines()
        if line.removeprefix("# ").partition(":")[0] in KEYS or line.startswith("  -")
    ]
    assert len(settings_only) == len(KEYS) + 1
    assert load(tmp_path, "\n".join(settings_only)).workers == 4


def test_unknown_keys_name_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, "root: /\n")
    for key in KEYS:
        assert key in str(caught.value)


def test_places_by_the_rules() -> None:
    found = Places.found(
        {
            "XDG_CONFIG_HOME": "/c",
            "XDG_CACHE_HOME": "/k",
            "XDG_STATE_HOME": "/s",
            "XDG_RUNTIME_DIR": "/r",
        },
        None,
    )
    assert found.configuration == Path("/c/obnam/obnam.yaml")
    assert found.secrets == Path("/c/obnam/secrets.yaml")
    assert (found.cache_home, found.state_home) == (Path("/k"), Path("/s"))
    assert found.private == (Path("/r"), Path("/tmp"))


def test_places_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in the environment is ignored, as the rules have it."""
    monkeypatch.setenv("HOME", "/home/you")
    found = Places.found({"XDG_CACHE_HOME": "relative"}, None)
    assert found.configuration == Path("/home/you/.config/obnam/obnam.yaml")
    assert found.cache_home == Path("/home/you/.cache")
    assert found.state_home == Path("/home/you/.local/state")


def test_places_beside_what_is_named(tmp_path: Path) -> None:
    found = Places.found({}, tmp_path / "mine.yaml")
    assert found.secrets == tmp_path / "secrets.yaml"
