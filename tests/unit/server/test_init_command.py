"""`obnam-server init`."""

import json
import re
import shlex
import stat
import sys
from pathlib import Path

import pytest

from obnam_server.config import DEFAULT_LISTEN, KEYS, Settings, load
from obnam_server.store.store import Store
from tests.support.admin_command import Command, command_on


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "server.yaml"


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_on(config, capsys)


def test_a_new_server_can_be_used_at_once(run: Command, config: Path, tmp_path: Path) -> None:
    code, out, err = run("--json", "init", "--data-directory", str(tmp_path / "da ta: #1"))
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["config"], found["data_directory"]) == (str(config), str(tmp_path / "da ta: #1"))
    settings = load(config)
    assert settings.data_directory == tmp_path / "da ta: #1"
    assert settings.listen == DEFAULT_LISTEN
    assert stat.S_IMODE(settings.data_directory.stat().st_mode) == 0o700
    assert json.loads(run("--json", "repository", "list")[1]) == []
    assert list(config.parent.iterdir()) == [config]


def test_how_to_start_it_is_said(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Path(sys.executable).with_name("twistd")
    for number, (path, program) in enumerate([(str(ours.parent), "twistd"), ("/", str(ours))]):
        monkeypatch.setenv("PATH", path)
        config = tmp_path / f"a {number}.yaml"
        data = str(tmp_path / str(number))
        said = run("--config", str(config), "init", "--data-directory", data)[1].splitlines()[-1]
        wanted = [program, "--nodaemon", "--pidfile=", "obnam-server", "--config", str(config)]
        assert shlex.split(said.removeprefix("start it: ")) == wanted


def test_what_is_said_is_written(run: Command, config: Path, tmp_path: Path) -> None:
    data = ["--data-directory", str(tmp_path / "data")]
    more = ["--listen", "tcp:1:interface=::1", "--listen", "unix:/s", "--public-url", "https://h:1"]
    assert run("init", *data, *more)[0] == 0
    settings = load(config)
    assert settings.listen == ("tcp:1:interface=::1", "unix:/s:mode=600")
    assert settings.public_url == "https://h:1"


def test_nothing_is_overwritten(run: Command, config: Path, tmp_path: Path) -> None:
    config.parent.mkdir()
    config.write_text("mine")
    code, out, err = run("init", "--data-directory", str(tmp_path / "data"))
    assert (code, out) == (2, "")
    assert err == f"obnam-server: {config}: is there already; nothing was changed\n"
    assert config.read_text() == "mine"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--listen", "smoke:1"], 2, "cannot listen on 'smoke:1'"),
        (["--public-url", "ftp://x"], 2, "public_url: must be like"),
        (["--data-directory", "/etc"], 1, "is neither empty nor a data directory"),
        (["--data-directory", "/nowhere/at/all"], 1, "make the directory above it first"),
    ],
)
def test_what_cannot_be_is_said_and_leaves_nothing(
    run: Command, config: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    found, out, err = run("init", "--data-directory", str(tmp_path / "data"), *arguments)
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(config.parent.iterdir()) == []


def test_not_on_the_data_of_a_running_server(run: Command, config: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "data", lambda: 1)
    code, _, err = run("init", "--data-directory", str(tmp_path / "data"))
    store.close()
    assert code == 1
    assert "in use by process" in err
    assert not config.exists()


def test_every_key_is_explained(run: Command, config: Path, tmp_path: Path) -> None:
    """And what is written behind a # can be used as it is."""
    assert run("init", "--data-directory", str(tmp_path / "data"))[0] == 0
    text = config.read_text()
    keys = re.findall(r"^#?([a-z_]+):", text, re.MULTILINE)
    assert sorted(keys) == sorted(KEYS)
    (config.parent / "webhook-secret").write_text("a secret of some length\n")
    (config.parent / "webhook-secret").chmod(0o600)
    config.write_text(re.sub(r"^#(?! )", "", text, flags=re.MULTILINE).replace("#  ", "  "))
    settings = load(config)
    assert settings.workers == Settings(config, tmp_path).workers
    assert len(settings.webhooks) == 1
