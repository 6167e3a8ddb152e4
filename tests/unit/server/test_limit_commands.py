"""`obnam-server quota` and `obnam-server alarm`."""

import json
from pathlib import Path

import pytest

from obnam_server.store.store import Store
from tests.support.admin_command import Command, command_on
from tests.support.stored import ALICE, HOME, START_NS, Clock, back_up, generation_id, sealed


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command on a data directory with one backup, whose client has an alarm."""
    config = tmp_path / "server.yaml"
    config.write_text("data_directory: data\n")
    store = Store.open(tmp_path / "data", Clock())
    home = store.create_repository(HOME)
    back_up(home, ALICE, "one", "ab")
    home.change(home.decisions.alarm, ALICE, generation_id("one"), "it is odd")
    store.clients.invite(ALICE, HOME, ["backup"], 2 * START_NS)
    store.close()

    return command_on(config, capsys)


def test_a_quota_is_set_and_lifted(run: Command) -> None:
    assert "no quota" in run("quota", "show", "home")[1]
    code, out, _ = run("quota", "set", "home", "1.5MB")
    assert (code, "of 1,500,000 bytes" in out) == (0, True)
    found = json.loads(run("--json", "quota", "show", "home")[1])
    assert (found["repository"], found["quota_bytes"]) == ("home", 1_500_000)
    assert "no quota" in run("quota", "set", "home", "none")[1]


def test_growth_and_cost(run: Command) -> None:
    found = json.loads(run("--json", "quota", "show", "home")[1])
    (day,) = found["growth"]
    assert run("quota", "show", "home")[1].splitlines()[1].startswith(f"{day}\t")
    one = generation_id("one")
    size = sum(len(sealed(name)) for name in "ab")
    code, out, _ = run("quota", "cost", "home", one)
    assert code == 0
    assert out == f"{one}\tneeds {size:,} bytes\ndeleting frees {size:,} bytes\n"
    assert run("quota", "cost", "home", one[:6])[1] == out
    code, _, err = run("quota", "cost", "home", "ffff")
    assert (code, "generation 'ffff'" in err) == (1, True)


def test_a_quota_below_use_is_refused(run: Command) -> None:
    code, out, err = run("quota", "set", "home", "10B")
    assert (code, out) == (2, "")
    assert "has" in err
    assert "force it" in err
    assert "no quota" in run("quota", "show", "home")[1]
    assert run("quota", "set", "home", "10B", "--force")[0] == 0


def test_alarms(run: Command) -> None:
    code, out, _ = run("alarm", "list")
    assert code == 0
    assert out.startswith("home\talice\t")
    assert out.endswith(f"{generation_id('one')}\tit is odd\n")
    assert json.loads(run("--json", "alarm", "list")[1])["alarms"][0]["client"] == "alice"
    assert "it is odd" in run("alarm", "acknowledge", "home", "alice")[1]
    assert run("alarm", "list") == (0, "", "")
    code, _, err = run("alarm", "acknowledge", "home", "alice")
    assert (code, "alarm of client alice" in err) == (1, True)


def test_missed_backups(run: Command, tmp_path: Path) -> None:
    assert "after 48 hours" in run("alarm", "missed", "home", "48")[1]
    assert (
        "client alice is missed after 2 hours"
        in run("alarm", "missed", "home", "2", "--client", "alice")[1]
    )
    store = Store.open(tmp_path / "data", Clock())
    assert store.settings.alert_after_s(HOME) == {None: 48 * 3600, ALICE: 7200}
    store.close()
    assert "never" in run("alarm", "missed", "home", "never")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (("quota", "show", "none"), 1, "none"),
        (("quota", "set", "none", "1GB"), 1, "none"),
        (("quota", "cost", "none", "0" * 32), 1, "none"),
        (("quota", "cost", "home", "0" * 32), 1, "0" * 32),
        (("quota", "cost", "home", "latest"), 1, "latest"),
        (("quota", "set", "home", "much"), 2, "write a size"),
        (("quota", "set", "home", "0"), 2, "size"),
        (("alarm", "missed", "home", "soon"), 2, "hours"),
        (("alarm", "missed", "home", "0"), 2, "hours"),
        (("alarm", "missed", "home", "5", "--client", "carol"), 1, "carol"),
        (("alarm", "acknowledge", "none", "alice"), 1, "none"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Command, arguments: tuple[str, ...], code: int, named: str
) -> None:
    found, out, err = run(*arguments)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    assert named in err
