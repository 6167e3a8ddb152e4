"""The whole way: a backup, another, and everything back as it was."""

import os
import re
import socket
from pathlib import Path

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import Computer, tree

LAST_LINES = re.compile(
    r"status: OK\nwarnings: (\d+)\nduration: \d+(\.\d+)?\nfile-count: (\d+)\n"
    r"generation-id: [0-9a-f]{32}\n\Z"
)


def test_smoke(computer: Computer, administrator: Administrator, name: str) -> None:
    """Invite, join, back up, list, resolve, restore, compare, verify."""
    invitation = administrator.done("client", "add", name).strip()
    joined = computer.obnam("init", invitation, "--no-passphrase")
    assert "is lost, so are all backups" in joined.err
    (computer.live / "letter").write_text("dear reader")
    done = computer.backup()
    assert (found := LAST_LINES.search(done.out))
    assert (found[1], found[3]) == ("0", "2")
    generation = done.value("generation-id")
    (line,) = computer.obnam("list").lines
    assert line.startswith(generation)
    assert line.endswith(name)
    assert computer.obnam("resolve", "latest").lines == [generation]
    assert tree(computer.restored()) == tree(computer.live)
    verified = computer.obnam("verify")
    assert (verified.value("status"), verified.value("files")) == ("OK", "1")


def test_reasons(joined: Computer) -> None:
    """New, changed, unchanged; what is deleted is in no later generation."""
    for name in ("stays", "changes", "goes"):
        (joined.live / name).write_text(name)
    first = joined.backup().value("generation-id")
    assert set(joined.reasons().values()) == {"new"}
    (joined.live / "changes").write_text("it has changed")
    (joined.live / "goes").unlink()
    (joined.live / "comes").write_text("it is new")
    joined.backup()
    assert joined.reasons() == {
        ".": "changed",
        "stays": "unchanged",
        "changes": "changed",
        "comes": "new",
    }
    before = joined.restored(first)
    assert (before / "changes").read_text() == "changes"
    assert (before / "goes").read_text() == "goes"
    now = joined.restored()
    assert (now / "changes").read_text() == "it has changed"
    assert not (now / "goes").exists()


def test_everything_linux_has(joined: Computer) -> None:
    """Kinds, names, modes, times, links, holes and attributes come back as they were."""
    live = os.fsencode(joined.live)
    (joined.live / "empty").touch()
    (joined.live / "large").write_bytes(os.urandom(3 << 20))
    (joined.live / "folder" / "in folder").mkdir(parents=True)
    (joined.live / "folder" / "file").write_text("file")
    os.link(joined.live / "folder" / "file", joined.live / "other name")
    with open(joined.live / "sparse", "wb") as file:
        file.truncate(50 << 20)
        file.seek(20 << 20)
        file.write(b"in the middle of nothing")
    with open(os.path.join(live, b"not utf-8: \xff\xfe \n"), "wb") as file:
        file.write(b"\xff")
    os.symlink(b"\xff nowhere", os.path.join(live, b"link \xff"))
    os.symlink("/etc", joined.live / "link to a directory")
    os.mkfifo(joined.live / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(joined.live / "socket"))
    (joined.live / "modes").touch()
    (joined.live / "modes").chmod(0o4751)
    (joined.live / "folder" / "in folder").chmod(0o1731)
    os.setxattr(joined.live / "modes", "user.obnam", b"\0\xff")
    os.utime(joined.live / "empty", ns=(0, 1_234_567_890_123_456_789))
    os.utime(joined.live / "large", ns=(0, -1))
    os.utime(joined.live / "link to a directory", ns=(0, 987_654_321), follow_symlinks=False)
    if os.geteuid() == 0:
        os.chown(joined.live / "folder", 1234, 5678)
        os.mknod(joined.live / "device", 0o20600, os.makedev(1, 3))
    os.utime(joined.live / "folder", ns=(0, 1_000_000_001))
    joined.backup()
    restored = joined.restored()
    assert tree(restored) == tree(joined.live)
    assert os.stat(restored / "folder" / "file").st_ino == os.stat(restored / "other name").st_ino
    assert os.stat(restored / "sparse").st_blocks * 512 < 1 << 20
    lines = joined.obnam("list-files").out.splitlines()
    kinds = {line.split(" ")[0] for line in lines}
    assert kinds >= {"f", "d", "l", "p", "s"}
    assert rf"f {joined.live}/not utf-8: \xff\xfe \n (new)" in lines


def test_names_of_what_is_no_file(joined: Computer) -> None:
    """As `rsync --hard-links` restores them."""
    (joined.live / "folder").mkdir()
    os.symlink("nowhere", joined.live / "link")
    os.mkfifo(joined.live / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(joined.live / "socket"))
    (joined.live / "file").write_text("file")
    names = ("file", "link", "pipe", "socket")
    for name in names:
        for again in ("a again", "folder/z again"):
            os.link(
                joined.live / name,
                joined.live / f"{again} {name}",
                follow_symlinks=False,
            )
    os.symlink("nowhere", joined.live / "another link")
    joined.backup()
    joined.backup()
    assert set(joined.reasons().values()) == {"unchanged"}
    target = joined.folder / "target"
    done = joined.obnam("--json", "restore", "latest", str(target)).json
    restored = target / joined.live.relative_to("/")
    assert tree(restored) == tree(joined.live)
    for name in names:
        found = [path for path in restored.rglob(f"*{name}") if path.name != "another link"]
        assert len({os.lstat(path).st_ino for path in found}) == 1, name
    assert os.lstat(restored / "another link").st_nlink == 1
    again = joined.obnam("--json", "restore", "latest", str(target), "--overwrite", "always").json
    assert tree(restored) == tree(joined.live)
    assert {k: v for k, v in again.items() if k in ("files", "others")} == {
        k: v for k, v in done.items() if k in ("files", "others")
    }


def test_several_roots(joined: Computer, tmp_path: Path) -> None:
    roots = [tmp_path / "one", tmp_path / "two"]
    for root in roots:
        root.mkdir()
        (root / "file").write_text(root.name)
    joined.configure(roots)
    assert joined.backup().value("file-count") == "4"
    target = joined.folder / "back"
    joined.obnam("restore", "latest", str(target))
    for root in roots:
        assert tree(target / root.relative_to("/")) == tree(root)
    only = joined.folder / "only"
    joined.obnam("restore", "latest", str(only), str(roots[1] / "file"))
    assert [path.name for path in only.rglob("file")] == ["file"]


def test_tilde_in_the_configuration(joined: Computer) -> None:
    joined.configure(["~/live"])
    (joined.live / "file").touch()
    joined.backup()
    assert joined.reasons() == {".": "new", "file": "new"}


def test_a_full_backup_reads_what_seems_unchanged(joined: Computer) -> None:
    (joined.live / "file").write_text("content")
    joined.backup()
    assert joined.obnam("--json", "backup").json["read-files"] == 0
    assert joined.obnam("--json", "backup", "--full").json["read-files"] == 1


def test_dry_runs_change_nothing(joined: Computer) -> None:
    (joined.live / "file").write_text("content")
    done = joined.backup("--dry-run")
    assert (done.value("generation-id"), done.value("read-files")) == ("none", "1")
    assert joined.obnam("list").out == ""
    joined.backup()
    target = joined.folder / "nothing"
    dry = joined.obnam("restore", "latest", str(target), "--dry-run")
    assert dry.value("files") == "1"
    assert not target.exists()


def test_overwriting(joined: Computer) -> None:
    """A target that is not empty is refused, unless it is said what is to happen."""
    (joined.live / "file").write_text("backed up")
    joined.backup()
    assert "is not empty" in joined.refused("restore", "latest", "/etc")
    target = joined.folder / "target"
    file = target / (joined.live / "file").relative_to("/")
    file.parent.mkdir(parents=True)
    file.write_text("was there")
    joined.obnam("restore", "latest", str(target), "--overwrite", "never")
    assert file.read_text() == "was there"
    joined.obnam("restore", "latest", str(target), "--overwrite", "always", "--verify")
    assert file.read_text() == "backed up"
