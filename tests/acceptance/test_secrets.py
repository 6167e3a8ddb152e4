"""Keys, passphrases, tokens: who has them, who sees them, and how they come back."""

import contextlib
import fcntl
import json
import os
import re
import stat
import subprocess
import termios
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import COMMANDS, Computer, tree
from tests.support.server_process import ServerProcess

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\nnot this line\n")
    return str(file)


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_recovery_on_a_new_machine(
    computer: Computer, server: ServerProcess, name: str, passphrase: str, tmp_path: Path
) -> None:
    """A new invitation and the passphrase bring everything back; a wrong one does not."""
    computer.obnam("init", server.invite(name), "--passphrase-file", passphrase)
    (computer.live / "file").write_text("dear")
    computer.backup()
    computer.backup()
    fresh = Computer.new(tmp_path / "fresh")
    wrong = tmp_path / "wrong"
    wrong.write_text("incorrect horse")
    invitation = server.invite(name)
    refused = fresh.refused("init", invitation, "--passphrase-file", str(wrong), code=1)
    assert "the passphrase opens no slot" in refused
    assert not fresh.secrets.exists()
    # The code is used up, but this computer noted its token: it may try again.
    fresh.obnam("init", invitation, "--passphrase-file", passphrase)
    assert len(fresh.obnam("list").lines) == 2
    target = tmp_path / "back"
    fresh.obnam("restore", "latest", str(target))
    assert tree(target / computer.live.relative_to("/")) == tree(computer.live)


def test_who_can_see_what(
    computer: Computer, server: ServerProcess, name: str, passphrase: str
) -> None:
    """Secrets are their owner's; the passphrase is nowhere; the server has nothing in clear."""
    computer.obnam("init", server.invite(name), "--passphrase-file", passphrase)
    (computer.live / "the-name-of-a-file").write_text("the content of a file, in clear. " * 99)
    os.symlink("the-target-of-a-link", computer.live / "link")
    computer.backup()
    assert stat.S_IMODE(computer.secrets.stat().st_mode) == 0o600
    everywhere = all_bytes(computer.configuration.parent)
    everywhere += all_bytes(computer.folder / ".local") + all_bytes(computer.folder / ".cache")
    assert PASSPHRASE.encode() not in everywhere
    kept = all_bytes(server.data) + server.log_text.encode()
    secrets = [PASSPHRASE, "the-name-of-a-file", "the content of a file", "the-target-of-a-link"]
    secrets += [str(computer.live), computer.live.name + "/"]
    for line in computer.secrets.read_text().splitlines():
        if line.startswith(("token", "master_key")):
            secrets.append(line.partition(": ")[2].strip('"'))
    assert len(secrets) == 8
    for secret in secrets:
        assert secret.encode() not in kept, secret


def test_secrets_that_others_can_read(joined: Computer) -> None:
    joined.secrets.chmod(0o640)
    complaint = joined.refused("list")
    assert str(joined.secrets) in complaint
    assert "chmod 600" in complaint


def test_joining_twice(joined: Computer, server: ServerProcess, name: str) -> None:
    before = joined.secrets.read_bytes()
    complaint = joined.refused("init", server.invite(name), "--no-passphrase")
    assert "is there already" in complaint
    assert joined.secrets.read_bytes() == before


def test_a_used_invitation(joined: Computer, invitation: str, tmp_path: Path) -> None:
    other = Computer.new(tmp_path / "other")
    complaint = other.refused("init", invitation, "--no-passphrase", code=1)
    assert "unknown, expired or used" in complaint
    assert invitation.partition("#")[2] not in complaint


def test_an_invitation_that_nobody_else_sees(
    computer: Computer, server: ServerProcess, name: str, passphrase: str
) -> None:
    """From a file, from standard input, and pasted at a terminal."""
    file = computer.folder / "invitation"
    file.write_text(server.invite(name) + "\n")
    computer.obnam("init", "--invitation-file", str(file), "--passphrase-file", passphrase)
    computer.secrets.unlink()
    command = [str(COMMANDS / "obnam"), "init", "-", "--passphrase-file", passphrase]
    environment = dict(computer.environment)
    line = server.invite(name) + "\n"
    subprocess.run(command, input=line, env=environment, text=True, check=True, timeout=60)
    computer.secrets.unlink()
    ours, theirs = os.openpty()
    pasted = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(theirs)
    shown = b""
    while not shown.endswith(b"shown): "):
        shown += os.read(ours, 1000)
    line = server.invite(name) + "\n"
    os.write(ours, line.encode())
    with contextlib.suppress(OSError):  # EIO: nobody has the other end any more
        while more := os.read(ours, 1000):
            shown += more
    os.close(ours)
    assert pasted.wait(60) == 0, shown
    assert line.strip().encode() not in shown
    computer.backup()


@pytest.mark.parametrize("content", ["", "\n", "not an invitation\n", "x" * 10_000])
def test_files_without_an_invitation(computer: Computer, content: str) -> None:
    file = computer.folder / "invitation"
    file.write_text(content)
    computer.refused("init", "--invitation-file", str(file), "--no-passphrase")
    assert "closed" not in computer.refused("init", "-", "--no-passphrase")
    both = ("https://127.0.0.1/#x", "--invitation-file", str(file))
    assert "either" in computer.refused("init", *both, "--no-passphrase")
    file.unlink()
    assert str(file) in computer.refused("init", "--invitation-file", str(file))
    assert not computer.secrets.exists()


def test_no_passphrase_and_no_key(
    joined: Computer, server: ServerProcess, name: str, tmp_path: Path
) -> None:
    """Without a slot, another computer cannot join what has backups already."""
    joined.backup()
    other = Computer.new(tmp_path / "other")
    invitation = server.invite(name + "2", repository=name)
    complaint = other.refused("init", invitation, "--no-passphrase", code=1)
    assert "its keyring is empty" in complaint
    assert "secrets.yaml" in complaint


@pytest.mark.parametrize("option", ["--no-passphrase", "--passphrase-file=passphrase"])
def test_two_computers_that_begin_a_repository_at_once(
    server: ServerProcess, name: str, tmp_path: Path, option: str
) -> None:
    """There is one key, whoever made it; who does not get it is told so, and has none."""
    computers = [Computer.new(tmp_path / str(number)) for number in range(3)]
    for number, each in enumerate(computers):
        (each.folder / "passphrase").write_text("correct horse")
        (each.live / "file").write_text(str(number))
    processes = [
        each.start("init", server.invite(f"{number}{name[1:]}", repository=name), option)
        for number, each in enumerate(computers)
    ]
    ended = [(process.communicate(), process.returncode) for process in processes]
    joined = [each for each, (_, code) in zip(computers, ended, strict=True) if code == 0]
    assert len(joined) == (1 if option == "--no-passphrase" else len(computers))
    for (_, err), code in ended:
        assert code == 0 or "the repository has a key already" in err
    for each in joined:
        each.backup()
    assert [len(each.obnam("list").lines) for each in joined] == [len(joined)] * len(joined)
    for each in computers:
        assert each.secrets.exists() is (each in joined)
        assert not each.secrets.with_suffix(".begun").exists() or each not in joined


def test_two_computers_in_one_repository(
    computer: Computer, server: ServerProcess, name: str, passphrase: str, tmp_path: Path
) -> None:
    """Each has its own ``latest``, sees the other's generations, and sends nothing twice."""
    content = os.urandom(1 << 20)
    other = Computer.new(tmp_path / "other")
    sent = []
    for each, client in ((computer, name), (other, name + "2")):
        invitation = server.invite(client, repository=name)
        each.obnam("init", invitation, "--passphrase-file", passphrase)
        (each.live / "file").write_bytes(content)
        sent.append(each.obnam("--json", "backup").json["sent-bytes"])
    assert sent[0] > len(content)
    assert sent[1] == 0
    ids = [line.split()[0] for line in other.obnam("list").lines]
    assert len(ids) == 2
    assert computer.obnam("resolve", "latest").lines == [ids[0]]
    assert other.obnam("resolve", "latest").lines == [ids[1]]
    assert other.obnam("show-generation", ids[0]).value("client") == name


def test_keyring(joined: Computer, server: ServerProcess, name: str, passphrase: str) -> None:
    """Slots: list, add; to change and remove them needs a scope that backups have not."""
    joined.obnam("key", "add", "--label", "safe", "--passphrase-file", passphrase)
    (line,) = joined.obnam("key", "list").lines
    assert line.endswith("  safe")
    refused = joined.refused("key", "change", "safe", "--passphrase-file", passphrase, code=1)
    assert "scope manage" in refused
    assert "last slot" in joined.refused("key", "remove", "safe")
    joined.secrets.unlink()
    invitation = server.invite(name, scopes=("backup", "restore", "manage"))
    joined.obnam("init", invitation, "--passphrase-file", passphrase)
    joined.obnam("key", "add", "--label", "spare", "--passphrase-file", passphrase)
    joined.obnam("key", "change", "safe", "--passphrase-file", passphrase)
    joined.obnam("key", "remove", "spare")
    slots = joined.obnam("--json", "key", "list").json
    assert [slot["label"] for slot in slots] == ["safe"]


def test_nobody_is_asked_for_a_passphrase_in_vain(
    joined: Computer, server: ServerProcess, name: str, passphrase: str, tmp_path: Path
) -> None:
    """The server is there, the token may do it, and there is such a slot: that is known first."""
    joined.obnam("key", "add", "--label", "safe", "--passphrase-file", passphrase)
    asked = "there is no terminal to ask at"
    assert asked in joined.refused("key", "add")
    assert "scope manage" in joined.refused("key", "change", "safe", code=1)
    reader = Computer.new(tmp_path / "reader")
    invitation = server.invite("r" + name[1:], repository=name, scopes=("restore",))
    reader.obnam("init", invitation, "--passphrase-file", passphrase)
    assert "scope backup or manage" in reader.refused("key", "add", code=1)
    manager = Computer.new(tmp_path / "manager")
    invitation = server.invite("m" + name[1:], repository=name, scopes=("manage",))
    manager.obnam("init", invitation, "--passphrase-file", passphrase)
    assert "no such slot" in manager.refused("key", "change", "unsafe")
    assert asked in manager.refused("key", "change", "safe")
    manager.configure([manager.live], "server_url: https://127.0.0.1:1\n")
    for command in (("add",), ("change", "safe")):
        assert "cannot be reached" in manager.refused("key", *command, code=1)


def test_a_revoked_token(joined: Computer, administrator: Administrator, name: str) -> None:
    administrator.done("client", "revoke", name)
    assert "refuses access" in joined.refused("list", code=1)


def test_scopes(computer: Computer, server: ServerProcess, name: str, passphrase: str) -> None:
    """Who may only restore cannot back up."""
    joined_before = server.invite(name)
    computer.obnam("init", joined_before, "--passphrase-file", passphrase)
    computer.secrets.unlink()
    invitation = server.invite(name, scopes=("restore",))
    computer.obnam("init", invitation, "--passphrase-file", passphrase)
    assert computer.obnam("list").out == ""
    assert "refuses access" in computer.refused("backup", code=1)


def test_the_way_back_without_a_passphrase(
    joined: Computer, server: ServerProcess, administrator: Administrator, name: str, tmp_path: Path
) -> None:
    """A token that was revoked, and no passphrase: what the messages say leads out of it."""
    (joined.live / "file").write_text("dear")
    joined.backup()
    administrator.done("client", "revoke", name)
    assert "ask the server's administrator for a new invitation" in joined.refused("list", code=1)
    before = joined.secrets.read_text()
    invitation = server.invite(name)
    assert "move it to a safe place" in joined.refused("init", invitation, "--no-passphrase")
    joined.secrets.unlink()
    complaint = joined.refused("init", invitation, "--no-passphrase", code=1)
    assert "with the `token` that is in secrets.joining here" in complaint
    token = json.loads(joined.secrets.with_name("secrets.joining").read_text())["token"]
    joined.secrets.write_text(re.sub("(?m)^token: .*", f"token: {token}", before))
    joined.secrets.chmod(0o600)
    assert (joined.restored() / "file").read_text() == "dear"
    joined.backup()


def test_another_token(joined: Computer) -> None:
    """The new one works, the old one does not, and nobody else's secrets are touched."""
    before = joined.secrets.read_text()
    assert joined.obnam("--json", "key", "rotate-token").json == {
        "rotated": json.loads(re.findall("^client: (.+)$", before, re.M)[0])
    }
    after = joined.secrets.read_text()
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old != new
    ]
    assert [old.partition(":")[0] for old, _ in changed] == ["token"]
    assert stat.S_IMODE(joined.secrets.stat().st_mode) == 0o600
    joined.backup()
    joined.secrets.write_text(before)
    assert "refuses access" in joined.refused("status", code=1)


def test_no_other_token_for_a_directory(computer: Computer, tmp_path: Path) -> None:
    computer.obnam("init", "--repository", str(tmp_path / "disk"), "--no-passphrase")
    before = computer.secrets.read_text()
    assert "directory" in computer.refused("key", "rotate-token")
    assert computer.secrets.read_text() == before
