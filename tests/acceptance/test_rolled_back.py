"""A server that is not what it was: restored from an old copy, gone on from one, or another one."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.acceptance.administrator import Administrator
from tests.acceptance.computer import TWISTD, Computer, Done, tree
from tests.support.server_process import ServerProcess


@pytest.fixture
def old_server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server of this test's own, whose data directory can be put back to what it was."""
    with ServerProcess(tmp_path / "server", program=TWISTD) as running:
        yield running


@pytest.fixture
def laptop(old_server: ServerProcess, tmp_path: Path) -> Computer:
    """One that has joined repository home."""
    return join(old_server, tmp_path, "laptop", "--no-passphrase")


def join(server: ServerProcess, folder: Path, name: str, *options: str) -> Computer:
    computer = Computer.new(folder / name)
    computer.obnam("init", server.invite(name, "home"), *options)
    (computer.live / "file").write_text("the first content")
    return computer


def changed(server: ServerProcess, change: Callable[[], object], *computers: Computer) -> None:
    """Stop the server, change something, and start it, on another port."""
    server.stop()
    change()
    server.start()
    for computer in computers:
        computer.configure([computer.live], f"server_url: {server.url}\n")


def keep_copy(server: ServerProcess) -> None:
    shutil.copytree(server.data, server.folder / "copy")


def put_copy_back(server: ServerProcess) -> None:
    shutil.rmtree(server.data)
    (server.folder / "copy").rename(server.data)


def check_proof(done: Done, key: str) -> None:
    """As somebody would who has only an Ed25519 tool and the page about the format."""
    proof = {n: bytes.fromhex(done.json[n]) for n in ("server_key", "signed", "signature")}
    assert proof["server_key"].hex() == key
    public = Ed25519PublicKey.from_public_bytes(proof["server_key"])
    public.verify(proof["signature"], proof["signed"])
    with pytest.raises(InvalidSignature):
        public.verify(proof["signature"], proof["signed"] + b"x")
    signed = proof["signed"]
    assert signed[:16] == b"obnam receipt 1\n"
    assert signed[48:64].hex() == done.json["generation"]
    assert int.from_bytes(signed[32:40], "big") == done.json["sequence"]
    assert signed[130:].decode() == done.json["client"]


def server_key(server: ServerProcess) -> str:
    """As the server's administrator sees it."""
    return str(Administrator(server.config).json("status")["server_key"])


def test_restored_from_an_old_copy(old_server: ServerProcess, laptop: Computer) -> None:
    first = laptop.backup().value("generation-id")
    changed(old_server, lambda: keep_copy(old_server), laptop)
    laptop.backup()
    (laptop.live / "file").write_text("the second content")
    lost = laptop.backup().value("generation-id")
    shown = laptop.obnam("status")
    assert shown.value("receipt").startswith(f"3  {lost}")
    assert shown.value("server-key") == server_key(old_server)
    described = laptop.obnam("show-generation")
    assert (described.value("receipt"), described.value("receipt-verified")) == ("3", "yes")
    assert laptop.obnam("accept-history", "--yes").lines[0].startswith("nothing to accept")

    changed(old_server, lambda: put_copy_back(old_server), laptop)
    complaint = laptop.refused("backup", code=1)
    assert "its copy of repository home is older than 2" in complaint
    assert "it was restored from a copy of 2" in complaint
    assert "; 2 generations of laptop are gone" in complaint
    assert complaint.endswith("then say: obnam accept-history")
    assert laptop.refused("restore", "latest", "new", code=1) == complaint
    warned = laptop.obnam("status", code=3)
    assert complaint.removeprefix("obnam: ") in warned.err
    check_proof(laptop.obnam("receipt"), server_key(old_server))
    assert laptop.obnam("receipt").json["generation"] == lost

    assert complaint.removeprefix("obnam: ") in laptop.refused("accept-history", code=2)
    assert laptop.refused("backup", code=1) == complaint
    accepted = laptop.obnam("accept-history", "--yes")
    assert accepted.lines == [f"accepted: 2 generations are lost, up to {lost}"]

    done = laptop.backup()
    assert done.value("status") == "OK"
    assert laptop.obnam("status").value("lost").startswith(f"2 up to {lost}, accepted ")
    assert "lost" not in laptop.obnam("status").out
    ids = [line.split()[0] for line in laptop.obnam("list").lines]
    assert ids == [first, done.value("generation-id")]
    assert laptop.obnam("show-generation").value("previous") == first
    assert tree(laptop.restored()) == tree(laptop.live)
    assert (laptop.restored(first) / "file").read_text() == "the first content"
    laptop.obnam("verify")
    assert laptop.obnam("receipt", lost[:8]).json["sequence"] == 3
    check_proof(laptop.obnam("receipt", "latest"), server_key(old_server))


def test_restored_from_before_everything(old_server: ServerProcess, laptop: Computer) -> None:
    """The client is known to the copy, and no backup of it is."""
    changed(old_server, lambda: keep_copy(old_server), laptop)
    laptop.backup()
    changed(old_server, lambda: put_copy_back(old_server), laptop)
    complaint = laptop.refused("backup", code=1)
    assert "copy of the time before the first backup; 1 generation of laptop is gone" in complaint
    laptop.obnam("accept-history", "--yes")
    laptop.backup()
    assert tree(laptop.restored()) == tree(laptop.live)


def test_gone_on_from_an_old_copy(
    old_server: ServerProcess, laptop: Computer, tmp_path: Path
) -> None:
    """With the backups of another client, which notices nothing."""
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    option = ("--passphrase-file", str(passphrase))
    laptop.obnam("key", "add", *option)
    other = join(old_server, tmp_path, "other", *option)
    laptop.backup()
    changed(old_server, lambda: keep_copy(old_server), laptop, other)
    lost = laptop.backup().value("generation-id")
    changed(old_server, lambda: put_copy_back(old_server), laptop, other)
    twin = other.backup().value("generation-id")
    complaint = laptop.refused("backup", code=1)
    assert "there are two receipts number 2" in complaint
    assert lost in complaint
    assert twin in complaint
    assert "or it lies" in complaint
    # Both are signed: whoever is shown them knows that the server signed two histories.
    mine, others = laptop.obnam("receipt"), other.obnam("receipt")
    for done in (mine, others):
        check_proof(done, server_key(old_server))
    assert mine.json["sequence"] == others.json["sequence"] == 2
    assert mine.json["repository_id"] == others.json["repository_id"]
    laptop.obnam("accept-history", "--yes")
    laptop.backup()
    other.backup()
    assert len(laptop.obnam("list").lines) == 4
    assert tree(laptop.restored()) == tree(laptop.live)


def test_another_key(old_server: ServerProcess, laptop: Computer) -> None:
    laptop.backup()
    known = server_key(old_server)
    assert f'server_key: "{known}"' in laptop.secrets.read_text()
    changed(old_server, (old_server.data / "server-key").unlink, laptop)
    new = server_key(old_server)
    assert new != known
    complaint = laptop.refused("backup", code=1)
    assert complaint.startswith(f"obnam: the server's key was {known}, and now it is {new}")
    assert laptop.obnam("status", code=3).value("server-key") == new
    assert new in laptop.refused("accept-server", known)
    assert "64 hexadecimal digits" in laptop.refused("accept-server", "junk")
    laptop.obnam("accept-server", new)
    laptop.backup()
    assert laptop.obnam("status").value("receipt").startswith("2  ")
    check_proof(laptop.obnam("receipt"), new)
    assert laptop.obnam("show-generation", "latest~1").value("receipt-verified") == "no"


def test_joined_before_there_was_a_key(old_server: ServerProcess, laptop: Computer) -> None:
    """The first key that is shown is believed, and noted; no other one after it."""
    lines = laptop.secrets.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("server_key:")]
    assert len(kept) == len(lines) - 1
    laptop.secrets.write_text("".join(kept))
    assert "no receipt is kept here yet" in laptop.refused("receipt")
    laptop.backup()
    changed(old_server, (old_server.data / "server-key").unlink, laptop)
    assert "the server's key was" in laptop.refused("backup", code=1)
