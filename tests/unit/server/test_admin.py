"""The `obnam-server` command, without a running server."""

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from obnam import __version__
from obnam.model.ids import ClientName, RepositoryName
from obnam_server.admin.context import aligned
from obnam_server.config import Settings, load
from obnam_server.listening import (
    public_url,
    read_listening,
    remove_listening,
    write_listening,
)
from obnam_server.store.accounts.clients import Clients
from obnam_server.store.store import Store
from tests.support.admin_command import Command, command_on
from tests.support.stored import ALICE, HOME, Clock, back_up, generation_id


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "server.yaml"
    path.write_text("data_directory: data\nlisten: ['tcp:8443:interface=127.0.0.1']\n")
    return path


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_on(config, capsys)


def test_an_invitation_is_one_line(run: Command) -> None:
    code, out, err = run("client", "add", "laptop")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.startswith("https://127.0.0.1:8443/#")
    secret, dot, pin = line.partition("#")[2].partition(".")
    assert len(secret) >= 16
    assert (dot, len(pin)) == (".", 43)


def test_columns_are_under_each_other() -> None:
    assert aligned(["home\t1.0 MB\tnew", "a word", "holidays\t12.5 MB", ""]) == [
        "home      1.0 MB   new",
        "a word",
        "holidays  12.5 MB",
        "",
    ]
    assert aligned([]) == []


def test_clients_are_listed_and_revoked(run: Command) -> None:
    run("client", "add", "laptop", "--repository", "home", "--scope", "backup")
    run("client", "add", "desktop")
    _, out, _ = run("--json", "client", "list")
    found = {each["name"]: each for each in json.loads(out)}
    assert found["laptop"]["repository"] == "home"
    assert found["laptop"]["scopes"] == ["backup"]
    assert found["desktop"]["repository"] == "desktop"
    assert found["desktop"]["scopes"] == ["backup", "restore"]
    assert not found["desktop"]["enrolled"]

    assert run("client", "revoke", "laptop")[0] == 0
    _, out, _ = run("client", "list")
    assert [line.split("\t")[0::3] for line in out.splitlines()] == [
        ["desktop", "invited"],
        ["laptop", "revoked"],
    ]
    code, _, err = run("client", "revoke", "nobody")
    assert code == 1
    assert "nobody" in err
    assert len(err.splitlines()) == 1


def test_no_sentence_is_cut_off(run: Command) -> None:
    groups = ["alarm", "client", "generation", "quota", "repository", "retention"]
    for arguments in ([], *([each] for each in groups)):
        commands = run(*arguments, "--help")[1].partition("Commands:\n")[2]
        assert commands
        assert "..." not in commands


def test_an_option_behind_the_command(run: Command) -> None:
    code, out, err = run("client", "list", "--json")
    assert (code, out) == (2, "")
    said = json.loads(err)["message"]
    assert said.startswith("--json stands before the command: obnam-server --json client list;")


def test_who_is_invited_again_is_what_it_was(run: Command, config: Path) -> None:
    """Unless another repository, or other scopes, are named. A revoked one, too."""

    def joined(*arguments: str) -> tuple[str, list[str]]:
        code = json.loads(run("--json", "client", "add", "laptop", *arguments)[1])["code"]
        clients = Clients.open(load(config).data_directory, lambda: 1)
        clients.enrol(code, sha256(code.encode()).hexdigest())
        clients.close()
        (found,) = json.loads(run("--json", "client", "list")[1])
        return found["repository"], found["scopes"]

    assert joined("--repository", "home", "--scope", "restore") == ("home", ["restore"])
    assert joined() == ("home", ["restore"])
    run("client", "revoke", "laptop")
    assert joined() == ("home", ["restore"])
    assert joined("--scope", "manage") == ("home", ["manage"])
    assert joined("--repository", "new") == ("new", ["manage"])


def test_the_last_that_may_manage_is_not_revoked_by_mistake(run: Command, config: Path) -> None:
    def join(name: str, *scopes: str) -> None:
        clients = Clients.open(load(config).data_directory, lambda: 1)
        clients.enrol(
            clients.invite(ClientName(name), RepositoryName("home"), scopes, 2),
            sha256(name.encode()).hexdigest(),
        )
        clients.close()

    join("laptop", "backup", "manage")
    run("client", "add", "desktop", "--repository", "home", "--scope", "manage")
    join("other", "backup")
    code, _, err = run("client", "revoke", "laptop")
    assert code == 1
    assert "is the last that may manage repository home; let another one join" in err
    assert len(err.splitlines()) == 1
    assert run("client", "revoke", "other")[0] == 0
    join("desktop", "manage")
    assert run("client", "revoke", "laptop")[0] == 0
    assert run("client", "revoke", "desktop")[0] == 1
    assert run("client", "revoke", "desktop", "--force")[0] == 0
    assert run("client", "revoke", "desktop")[0] == 0


def test_repositories_are_listed_shown_and_destroyed(run: Command, config: Path) -> None:
    data = load(config).data_directory
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    store.close()
    run("client", "add", "alice", "--repository", "home")
    (found,) = json.loads(run("--json", "repository", "list")[1])
    assert (found["name"], found["generation_count"], found["client_count"]) == ("home", 1, 1)
    assert found["used_bytes"] > 0
    assert run("repository", "list")[1].startswith("home\t")
    found = json.loads(run("--json", "repository", "show", "home")[1])
    assert found["clients"][0]["latest"] == generation_id("one")
    assert "last backup 2027-01-15" in run("repository", "show", "home")[1]
    assert run("repository", "show", "office")[0] == 1

    code, _, err = run("repository", "destroy", "home")
    assert code == 2
    assert "all backups in home would be lost for good; if so, add --yes" in err
    code, _, err = run("repository", "destroy", "office", "--yes")
    assert (code, len(err.splitlines())) == (1, 1)
    assert len(json.loads(run("--json", "repository", "list")[1])) == 1
    code, out, _ = run("repository", "destroy", "home", "--yes")
    assert out.splitlines() == ["home is destroyed", "alice can no longer use the server"]
    assert list((data / "repositories").iterdir()) == []
    assert run("client", "list")[1].endswith("revoked\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("client", "add", "Not A Name"),
        ("client", "add", "laptop", "--repository", "../etc"),
        ("client", "add", "laptop", "--scope", "everything"),
        ("client", "add", "laptop", "--expires-hours", "0"),
        ("nonsense",),
    ],
)
def test_wrong_usage(run: Command, arguments: tuple[str, ...]) -> None:
    assert run(*arguments)[0] == 2


def test_a_wrong_configuration_is_one_line(run: Command, config: Path) -> None:
    config.write_text("data: x\n")
    code, _, err = run("status")
    assert code == 2
    assert err.count("\n") == 1
    assert str(config) in err


def test_status_and_rebuilding(run: Command, config: Path) -> None:
    data = load(config).data_directory
    store = Store.open(data, lambda: 1)
    store.create_repository("home")  # type: ignore[arg-type]
    store.close()
    found = json.loads(run("--json", "status")[1])
    assert found["running"] is False
    assert [each["name"] for each in found["repositories"]] == ["home"]
    assert "repository home" in run("status")[1]

    assert json.loads(run("--json", "rebuild-index")[1]) == {"rebuilt": {"home": []}}
    assert run("rebuild-index", "--repository", "other")[0] == 1
    store = Store.open(data, lambda: 1)
    code, _, err = run("rebuild-index", "--repository", "home")
    store.close()
    assert code == 1
    assert "in use by process" in err


def test_the_address_of_an_invitation(tmp_path: Path) -> None:
    def url(listen: str, public: str | None = None) -> str:
        return public_url(Settings(tmp_path / "s", tmp_path, (listen,), public_url=public))

    assert url("tcp:1", "https://example.org") == "https://example.org"
    assert url("tcp:1:interface=192.0.2.7") == "https://192.0.2.7:1"
    assert url("tcp6:1:interface=\\:\\:1") == "https://[::1]:1"
    assert url("tcp:1") == f"https://{os.uname().nodename}:1"
    assert url("unix:/run/s:mode=600") == "unix:/run/s"
    with pytest.raises(Exception, match="public_url"):
        url("tcp:0")
    write_listening(tmp_path, ["unix:/run/s", "https://0.0.0.0:77"])
    assert url("tcp:0") == f"https://{os.uname().nodename}:77"


def test_what_a_crash_left_does_not_count(tmp_path: Path) -> None:
    assert read_listening(tmp_path) is None
    write_listening(tmp_path, ["https://127.0.0.1:1"])
    found = read_listening(tmp_path)
    assert found is not None
    assert found.pid == os.getpid()
    path = tmp_path / "listening.json"
    # Its number was given again, to a process that began later.
    reused = json.loads(path.read_text())
    reused["started"] = reused["started"] + "0"
    none = {**reused, "pid": 4194305}
    for text in ("{", "[]", json.dumps(reused), json.dumps(none), '{"pid": 1, "addresses": []}'):
        path.write_text(text)
        assert read_listening(tmp_path) is None
    remove_listening(tmp_path)
    remove_listening(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "name", "said"),
    [
        (["client", "revoke", "nobody"], 1, "NotFound", "client nobody"),
        (["client", "add", "a b"], 2, "UsageError", "see `obnam-server client add --help`"),
        (["client", "add", "x", "--scope", "y"], 2, "UsageError", "'backup', 'restore', 'manage'"),
        (["nonsense"], 2, "UsageError", "No such command 'nonsense'; see `obnam-server --help`"),
    ],
)
def test_what_fails_is_one_line(
    run: Command, arguments: list[str], code: int, name: str, said: str
) -> None:
    """For people, and with ``--json`` for programs."""
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert err.startswith("obnam-server: ")
    assert said in err
    assert len(err.splitlines()) == 1
    found, _, err = run("--json", *arguments)
    assert found == code
    document = json.loads(err)
    assert document["error"] == name
    assert said in document["message"]


def test_without_a_command_the_help_is_shown(run: Command) -> None:
    code, _, err = run("client")
    assert code == 2
    assert "\n  revoke " in err
    assert json.loads(run("--json", "client")[2])["error"] == "UsageError"


def test_the_version(run: Command) -> None:
    assert run("--version")[:2] == (0, f"obnam-server {__version__}\n")
