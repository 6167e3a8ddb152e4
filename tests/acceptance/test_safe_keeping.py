"""docs/operations/safe-keeping.md, word for word: copied, moved and recovered with its commands."""

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer, tree
from tests.support.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "safe-keeping.md"
HOME = "home"
PASSPHRASE = "correct horse battery staple\n"


def commands(after: str) -> str:
    """Those that the page gives after these words."""
    text = PAGE.read_text()
    assert text.count(after) == 1
    found = re.search(r"(?:^    .*\n)+", text.partition(after)[2], re.MULTILINE)
    assert found is not None
    return found[0]


def sh(script: str, data: Path, copy: Path) -> None:
    """Run commands of the page."""
    for needed in ("rsync", "sqlite3"):
        if shutil.which(needed) is None:
            pytest.skip(f"{needed} is not installed")
    environment = {**os.environ, "data": str(data), "copy": str(copy)}
    subprocess.run(["sh", "-eu", "-c", script], env=environment, check=True, timeout=120)


def new_server(folder: Path) -> ServerProcess:
    return ServerProcess(folder, program=TWISTD)


def join(
    server: ServerProcess, folder: Path, name: str = "laptop", *, alone: bool = True
) -> Computer:
    """``alone``: no other computer is to join, and this one not again."""
    computer = Computer.new(folder / name)
    if alone:
        computer.obnam("init", server.invite(name, HOME), "--no-passphrase")
    else:
        invite(server, computer, name)
    (computer.live / "file").write_bytes(os.urandom(300_000))
    return computer


def invite(server: ServerProcess, computer: Computer, name: str = "laptop") -> None:
    """As the page says: invited under its name and its repository, and joined by the passphrase."""
    passphrase = computer.folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    invitation = Administrator(server.config).done("client", "add", name, "--repository", HOME)
    computer.obnam("init", invitation.strip(), "--passphrase-file", str(passphrase))


def finds(computer: Computer, server: ServerProcess) -> None:
    """The name in ``public_url`` points to where the server is now."""
    computer.configure([computer.live], f"server_url: {server.url}\n")


def is_well(server: ServerProcess) -> None:
    assert Administrator(server.config).json("check", HOME)["findings"] == []
    Administrator(server.config).done("audit", "--verify")


def test_a_copy_of_a_stopped_server_at_a_new_place(tmp_path: Path) -> None:
    old, new = new_server(tmp_path / "old"), new_server(tmp_path / "new")
    with old:
        laptop = join(old, tmp_path)
        laptop.backup()
    script = commands("the next time, only new segments are copied".capitalize())
    sh(script, old.data, new.data)
    with old:
        finds(laptop, old)
        (laptop.live / "more").write_text("more")
        second = laptop.backup().value("generation-id")
    sh(script, old.data, new.data)
    with new:
        finds(laptop, new)
        assert laptop.obnam("status").value("receipt").startswith(f"2  {second}")
        assert tree(laptop.restored()) == tree(laptop.live)
        (laptop.live / "more").write_text("and more")
        assert laptop.backup().value("status") == "OK"
        is_well(new)


def test_a_copy_beside_running_backups(tmp_path: Path) -> None:
    """What was committed before is whole in the copy; clients are told how much is missing."""
    old, new = new_server(tmp_path / "old"), new_server(tmp_path / "new")
    with old:
        laptop, desktop = (join(old, tmp_path, n, alone=False) for n in ("laptop", "desktop"))
        laptop.backup()
        before = tree(laptop.live)
        first = laptop.backup().value("generation-id")
        stop = threading.Event()

        def go_on() -> None:
            while not stop.is_set():
                (desktop.live / "file").write_bytes(os.urandom(300_000))
                desktop.backup()

        backups = threading.Thread(target=go_on)
        backups.start()
        try:
            # An index of an earlier copy is of no use to this one, and must not stay.
            stale = new.data / "repositories" / HOME / "index.sqlite"
            stale.parent.mkdir(parents=True)
            new.data.chmod(0o700)
            stale.write_bytes(b"of an earlier copy")
            sh(commands("Without stopping it, beside running backups"), old.data, new.data)
            assert not stale.exists()
        finally:
            stop.set()
            backups.join()
        (laptop.live / "file").write_text("of after the copy")
        laptop.backup()
    administrator = Administrator(new.config)
    assert HOME in administrator.done("rebuild-index")
    with new:
        finds(laptop, new)
        complaint = laptop.refused("backup", code=1)
        assert "it was restored from a copy of 2" in complaint
        assert "of laptop is gone" in complaint
        laptop.obnam("accept-history", "--yes")
        assert tree(laptop.restored(first)) == before
        assert laptop.backup().value("status") == "OK"
        assert tree(laptop.restored()) == tree(laptop.live)
        administrator.done("audit", "--verify")
        damaged = administrator.run("check", HOME).stdout
        assert first not in damaged
    assert stat_of(new.data) == 0o700


def stat_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


Stopped = tuple[ServerProcess, Computer]
"""A server that is stopped, and a computer with a generation there."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """One for all tests here; what there was is kept beside it."""
    folder = tmp_path_factory.mktemp("prepared")
    server = new_server(folder / "server")
    with server:
        laptop = join(server, folder, alone=False)
        laptop.backup()
    for path in kept_of(server, laptop):
        shutil.copytree(path, kept_at(path))
    return server, laptop


@pytest.fixture
def scene(prepared: Stopped) -> Stopped:
    """As it was when it was prepared."""
    for path in kept_of(*prepared):
        shutil.rmtree(path)
        shutil.copytree(kept_at(path), path)
    return prepared


def kept_of(server: ServerProcess, laptop: Computer) -> list[Path]:
    """All that tests change: not the live data, whose inodes the generation knows."""
    return [server.data, *(laptop.folder / name for name in (".config", ".cache", ".local"))]


def kept_at(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")


def goes_on(server: ServerProcess, laptop: Computer) -> None:
    """The old generation is there, and a new one can be made, from what the old one has."""
    assert len(laptop.obnam("list").lines) == 1
    assert tree(laptop.restored()) == tree(laptop.live)
    laptop.backup()
    assert laptop.reasons()["file"] == "unchanged"
    is_well(server)


def test_a_lost_index_and_a_lost_audit_log(scene: Stopped) -> None:
    server, laptop = scene
    for path in (server.data / "repositories" / HOME).glob("index.sqlite*"):
        path.unlink()
    assert HOME in Administrator(server.config).done("rebuild-index")
    shutil.rmtree(server.data / "audit")
    (server.data / "lock").unlink()
    with server:
        finds(laptop, server)
        goes_on(server, laptop)


def test_a_damaged_index_says_what_to_do(scene: Stopped) -> None:
    server, laptop = scene
    index = server.data / "repositories" / HOME / "index.sqlite"
    index.write_bytes(b"no database" * 10_000)
    administrator = Administrator(server.config)
    assert "run: obnam-server rebuild-index" in administrator.refused("repository", "show", HOME)
    is_told_at_once(server, laptop, index)
    administrator.done("rebuild-index")
    with server:
        finds(laptop, server)
        goes_on(server, laptop)


@pytest.mark.parametrize("content", [b'{"format": 1, "id": "00"}', None])
def test_a_damaged_file_with_the_id(scene: Stopped, content: bytes | None) -> None:
    server, laptop = scene
    file = server.data / "repositories" / HOME / "repository"
    before = file.read_bytes()
    for junk in (b"", b"{"):
        file.write_bytes(junk)
        line = Administrator(server.config).refused("repository", "show", HOME)
        assert f"{file}: " in line
        assert "run: obnam-server rebuild-index" in line
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    is_told_at_once(server, laptop, file)
    Administrator(server.config).done("rebuild-index")
    assert file.read_bytes() == before
    with server:
        finds(laptop, server)
        goes_on(server, laptop)


def is_told_at_once(server: ServerProcess, laptop: Computer, file: Path) -> None:
    """A client tries only once, and the log says of ``file`` what is wrong and what to do."""
    with server:
        finds(laptop, server)
        done = laptop.obnam("backup", code=1)
    (line,) = done.err.splitlines()
    assert f"the file `{file.name}`" in line
    assert str(server.data) not in line
    assert f"{file}: " in server.log_text
    assert "run: obnam-server rebuild-index" in server.log_text
    assert "Traceback" not in server.log_text


def test_a_lost_database_of_clients(scene: Stopped) -> None:
    server, laptop = scene
    database = server.data / "server.sqlite"
    database.write_bytes(b"no database" * 1000)
    with pytest.raises(AssertionError, match="put back a copy of it"):
        server.start()
    database.unlink()
    with server:
        assert "invite every client again" in server.log_text
        finds(laptop, server)
        assert "revoked" in laptop.refused("backup", code=1)
        safe = laptop.folder / "safe place"
        laptop.secrets.rename(safe)
        invite(server, laptop)
        goes_on(server, laptop)


def test_a_lost_database_of_clients_and_no_passphrase(tmp_path: Path) -> None:
    """`init` says how the old key and the new token come together."""
    server = new_server(tmp_path / "server")
    laptop = Computer.new(tmp_path / "laptop")
    (laptop.live / "file").write_bytes(os.urandom(300_000))
    add = ("client", "add", "laptop", "--repository", HOME)
    administrator = Administrator(server.config)
    with server:
        laptop.obnam("init", administrator.done(*add).strip(), "--no-passphrase")
        laptop.backup()
    (server.data / "server.sqlite").unlink()
    with server:
        finds(laptop, server)
        safe = laptop.secrets.rename(laptop.folder / "safe place")
        invitation = administrator.done(*add).strip()
        said = laptop.refused("init", invitation, "--no-passphrase", code=1)
        assert "copy secrets.yaml from there" in said
        assert "with the `token` that is in secrets.joining here" in said
        joining = json.loads(laptop.secrets.with_name("secrets.joining").read_text())
        old = safe.read_text()
        both = re.sub(r'(?m)^token: ".*"$', f'token: "{joining["token"]}"', old)
        assert both != old
        laptop.secrets.touch(mode=0o600)
        laptop.secrets.write_text(both)
        goes_on(server, laptop)


def test_a_lost_key_of_the_server(scene: Stopped) -> None:
    server, laptop = scene
    (server.data / "server-key").unlink()
    with server:
        finds(laptop, server)
        complaint = laptop.refused("backup", code=1)
        key = Administrator(server.config).json("status")["server_key"]
        assert f"obnam accept-server {key}" in complaint
        laptop.obnam("accept-server", key)
        goes_on(server, laptop)


def test_a_lost_certificate(scene: Stopped) -> None:
    server, laptop = scene
    for name in ("certificate.pem", "private-key.pem"):
        (server.data / name).unlink()
    with server:
        finds(laptop, server)
        assert "ask its administrator for the new pin" in laptop.refused("backup", code=1)
        laptop.secrets.rename(laptop.folder / "safe place")
        invite(server, laptop)
        goes_on(server, laptop)


@pytest.mark.parametrize("name", ["format", f"repositories/{HOME}/repository"])
def test_what_must_be_kept(scene: Stopped, name: str) -> None:
    """Without it nothing can be used, and nothing is spoilt; put back, all is well."""
    server, laptop = scene
    path = server.data / name
    content = path.read_bytes()
    path.unlink()
    line = Administrator(server.config).refused("repository", "show", HOME)
    assert str(server.data) in line
    assert "format" in line or f"{path}: is missing; run: obnam-server rebuild-index" in line
    path.write_bytes(content)
    with server:
        finds(laptop, server)
        goes_on(server, laptop)


def test_the_table_names_all_that_there_is(scene: Stopped) -> None:
    server, _ = scene
    table = PAGE.read_text().partition("## What is where")[2].partition("\n## ")[0]
    with server:
        there = {path.name for path in server.data.iterdir()}
        there |= {path.name for path in (server.data / "repositories" / HOME).iterdir()}
    for name in there - {HOME, "repositories"}:
        assert name.removesuffix("-wal").removesuffix("-shm") in table
