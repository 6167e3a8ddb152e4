"""Make a sample of all formats as they are: ``python -m tests.compat.make_sample VERSION``.

To be run as root, by hand, with the commands of the release installed beside this Python. It writes
``repository-VERSION.tar.xz`` and ``repository-VERSION.json`` beside this file: a repository in a
directory with three generations, and what each must bring back.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.acceptance.computer import Computer
from tests.compat.sample import LIVE, PASSPHRASE, REPOSITORY, Described, described

HOST = "example"
"""What the sample's computer is called, in place of the one that it is made on."""

WORDS = [b"utterly", b"boring", b"backups", b"that", b"just", b"work"]


def first(live: Path) -> None:
    """Of every kind of entry one, and enough small ones for more than one page of rows."""
    dice = random.Random(1)
    small = live / "small"
    small.mkdir()
    for number in range(100):
        (small / f"{number:03}").write_bytes(b" ".join(dice.choices(WORDS, k=3 * number)))
    (live / "empty").touch()
    (live / "words").write_bytes(b" ".join(dice.choices(WORDS, k=110_000)))
    (live / "random").write_bytes(dice.randbytes(140_000))
    with (live / "sparse").open("wb") as sparse:
        sparse.write(b"begin")
        sparse.seek(5 << 20)
        sparse.write(b"end")
    (live / "link").symlink_to("not there")
    (live / "another name").hardlink_to(live / "random")
    os.symlink(b"\xff\xfe", os.fsencode(live) + b"/n\xf8t text")
    os.mkfifo(live / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(live / "socket"))
    (live / "secret").mkdir(mode=0o700)
    (live / "secret" / "file").write_text("for me only")
    (live / "secret" / "file").chmod(0o400)
    os.setxattr(live / "words", "user.example", b"\0value")
    cache = live / "cache"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_bytes(b"Signature: 8a477f597d28d172789f06886806bc55")
    (cache / "left out").touch()
    for path in (live / "words", live / "random", live / "secret" / "file"):
        os.utime(path, ns=(0, 1_234_567_890_123_456_789))


def second(live: Path) -> None:
    """New, changed and gone; the pages of the generation before are used again."""
    with (live / "words").open("r+b") as words:
        words.seek(300_000)
        words.write(b"another word")
    (live / "small" / "007").unlink()
    (live / "small" / "008").write_text("changed")
    (live / "new").write_text("new")
    (live / "empty").rename(live / "void")


def third(live: Path) -> None:
    """A directory in the place of a file, and the other way round."""
    (live / "new").unlink()
    (live / "new").mkdir()
    (live / "new" / "file").write_text("below")
    shutil.rmtree(live / "secret")
    (live / "secret").write_text("no more")


def make(version: str, folder: Path) -> None:
    """The sample, by way of ``folder``."""
    repository, passphrase = folder / REPOSITORY, folder / "passphrase"
    passphrase.write_text(PASSPHRASE)
    computer = Computer.new(folder / "computer", [LIVE])
    computer.obnam("init", "--repository", str(repository), "--passphrase-file", str(passphrase))
    LIVE.mkdir()
    expected = {}
    try:
        for change in (first, second, third):
            change(LIVE)
            generation = computer.backup().value("generation-id")
            entries = described(LIVE, without="left out")
            expected[generation] = dict(sorted(entries.items()))
    finally:
        shutil.rmtree(LIVE)
    here = Path(__file__).with_name(f"repository-{version}")
    with tarfile.open(f"{here}.tar.xz", "x:xz") as packed:
        packed.add(repository, REPOSITORY, filter=_without_reserve)
    Path(f"{here}.json").write_text(_told(expected))


def _without_reserve(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """It is random, large, and made again."""
    return None if member.name == f"{REPOSITORY}/reserve" else member


def _told(expected: dict[str, Described]) -> str:
    """JSON with a line for each entry."""
    generations = []
    for generation, entries in expected.items():
        lines = (f"{json.dumps(path)}: {json.dumps(entry)}" for path, entry in entries.items())
        generations.append(f'"{generation}": {{\n' + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(generations) + "\n}\n"


def main() -> None:
    """In a name space of its own, so that the computer's name is nobody's."""
    version, *called = sys.argv[1:]
    if not called:
        again = ("unshare", "--uts", sys.executable, "-m", __spec__.name, version, HOST)
        subprocess.run(again, check=True)
        return
    socket.sethostname(HOST)
    with tempfile.TemporaryDirectory() as folder:
        make(version, Path(folder))


if __name__ == "__main__":
    main()
