"""server.yaml: what is accepted, and that what is not is one line that names the thing."""

from pathlib import Path

import pytest

from obnam.errors import ConfigurationError
from obnam_server.config import KEYS, load
from obnam_server.monitoring.event_kinds import USUAL, Kind


def write(folder: Path, text: str) -> Path:
    path = folder / "server.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_only_the_data_directory_is_needed(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "data_directory: data\n"))
    assert settings.data_directory == tmp_path / "data"
    assert settings.listen == ("tcp:8443",)
    assert settings.certificate is None


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = "data_directory: /srv\ncertificate: c.pem\nprivate_key: /etc/k.pem\n"
    settings = load(write(tmp_path, text))
    assert settings.data_directory == Path("/srv")
    assert settings.certificate == tmp_path / "c.pem"
    assert settings.private_key == Path("/etc/k.pem")


def test_an_unknown_key_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    message = refusal(tmp_path, "data_directory: data\nlisten_on: tcp:1\n")
    assert "listen_on" in message
    for key in KEYS:
        assert key in message


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "data_directory"),
        ("[]", "mapping"),
        ("listen: tcp:1", "data_directory: is missing"),
        ("data_directory: 3", "data_directory"),
        ("data_directory: {", "YAML (line 2)"),
        ("data_directory: d\nlisten: tcp:1\ndata_directory: e", "is there twice (line 3)"),
        ("data_directory: !!timestamp x", "YAML"),
        ("data_directory: d\nlisten: [tcp:https]", "cannot listen on 'tcp:https'"),
        ("data_directory: d\nlisten: [tcp:65536]", "cannot listen on 'tcp:65536'"),
        ("data_directory: d\nlisten: []", "listen"),
        ("data_directory: d\nlisten: [3]", "listen"),
        ("data_directory: d\nlisten:", "listen: must be a list"),
        ("data_directory: d\nlisten: [ssl:443]", "ssl:443"),
        ("data_directory: d\nlisten: ['unix:/s:mode=666']", "mode=600"),
        ("data_directory: d\ncertificate: c.pem", "private_key"),
        ("data_directory: d\npublic_url: http://example.org", "https"),
        ("data_directory: d\npublic_url: https://", "https"),
        ("data_directory: d\npublic_url: https://example.org/x", "https"),
        ("data_directory: d\npublic_url: https://[::1", "https"),
        ("data_directory: d\nworkers: -1", "workers: must be a whole number"),
        ("data_directory: d\nupkeep_every_minutes: -1", "whole number, 0 or more"),
        ("data_directory: d\nworkers: true", "workers: must be a whole number"),
        ("data_directory: d\nworkers: many", "workers: must be a whole number"),
        ("data_directory: d\npublic_url: https://a b", "https"),
        ('data_directory: "a\\0b"', "data_directory: must be a text"),
        ("data_directory: 2026-99-99", "is not YAML: month"),
        ("data_directory: d\n? 0x" + "f" * 5000 + "\n: 1", "unknown key a number"),
        ("#" * (1 << 20) + "\n", "is larger than"),
        ("data_directory: d\nworkers: 65", "workers: must be a whole number from 0 to 64"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, named: str) -> None:
    assert named in refusal(tmp_path, text)


def test_a_folder_of_nobody(tmp_path: Path) -> None:
    settings = load(write(tmp_path, "data_directory: ~no-such-user/data"))
    assert settings.data_directory == tmp_path / "~no-such-user/data"


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist; `obnam-server init` makes one"):
        load(tmp_path / "none.yaml")
    path = tmp_path / "server.yaml"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        load(path)


def test_a_unix_socket_is_only_for_its_owner(tmp_path: Path) -> None:
    text = "data_directory: d\nlisten: ['unix:/run/s', 'unix:/run/t:mode=600']\n"
    settings = load(write(tmp_path, text))
    assert settings.listen == ("unix:/run/s:mode=600", "unix:/run/t:mode=600")


def test_a_public_url_ends_without_a_slash(tmp_path: Path) -> None:
    text = "data_directory: d\npublic_url: https://example.org:1/\n"
    assert load(write(tmp_path, text)).public_url == "https://example.org:1"


HOOKS = "data_directory: d\nwebhooks:\n"


def test_webhooks(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret of some length\n")
    (tmp_path / "secret").chmod(0o640)
    text = (
        "  - url: https://example.org/hook\n    secret_file: secret\n"
        "  - {url: 'http://127.0.0.1:8000/', events: [commit, anomaly]}\n"
        "  - url: http://[::1]:8000/\n  - url: http://localhost/x\n"
    )
    first, second, *_ = load(write(tmp_path, HOOKS + text)).webhooks
    assert (first.url, first.kinds) == ("https://example.org/hook", USUAL)
    assert first.secret == b"a secret of some length"
    assert second.kinds == {Kind.COMMIT, Kind.ANOMALY}
    assert second.secret is None
    assert "secret of" not in repr(first)
    assert "example.org" not in repr(first)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("  url: https://example.org", "must be a list"),
        ("  - https://example.org", "must be a mapping with the keys url"),
        ("  - events: [anomaly]", "url: must be like"),
        ("  - {url: https://example.org, to: x}", "unknown key 'to'"),
        ("  - url: http://example.org", "http only to this host"),
        ("  - url: http://127.0.0.1.example.org", "http only to this host"),
        ("  - url: ftp://example.org", "https://"),
        ("  - url: 3", "https://"),
        ("  - url: https://user:word@example.org", "https://"),
        ("  - url: https://exämple.org", "https://"),
        ("  - {url: https://example.org, events: []}", "events: must be a list of anomaly"),
        ("  - {url: https://example.org, events: [anomalies]}", "events: must be"),
        ("  - {url: https://example.org, events: anomaly}", "events: must be"),
        ("  - {url: https://example.org, events: [[anomaly]]}", "events: must be"),
        ('  - {url: https://example.org, secret_file: "a\\0b"}', "secret_file: must be a text"),
        ("  - {url: https://example.org, secret_file: 3}", "secret_file"),
        ("  - url: https://example.org\n  - url: https://example.org", "there twice"),
        ("\n".join(f"  - url: https://example.org/{n}" for n in range(17)), "at most 16"),
    ],
)
def test_bad_webhooks(tmp_path: Path, text: str, named: str) -> None:
    message = refusal(tmp_path, HOOKS + text)
    assert "webhooks: " in message
    assert named in message


@pytest.mark.parametrize(
    ("secret", "mode", "named"),
    [
        (None, 0o600, "cannot be read"),
        ("a secret of some length", 0o604, "others can read it"),
        ("short", 0o600, "16 to 4096"),
        ("s" * 5000, 0o600, "16 to 4096"),
    ],
)
def test_bad_secrets(tmp_path: Path, secret: str | None, mode: int, named: str) -> None:
    if secret is not None:
        (tmp_path / "secret").write_text(secret)
        (tmp_path / "secret").chmod(mode)
    path = write(tmp_path, HOOKS + "  - {url: https://example.org, secret_file: secret}")
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).startswith(str(tmp_path / "secret"))
    assert named in str(caught.value)
