"""The server's disk has lost or changed something: named, and mended by the next backup."""

import os
from pathlib import Path

import pytest

from tests.acceptance.computer import Computer, tree
from tests.support.server_process import ServerProcess

MIB = 1 << 20


@pytest.fixture
def segment(joined: Computer, server: ServerProcess, name: str) -> Path:
    """The server's file with the data of a backup: of two large files and a small one."""
    for file in ("large-1", "large-2"):
        (joined.live / file).write_bytes(os.urandom(3 * MIB))
    (joined.live / "small").write_text("small")
    joined.backup()
    segments = (server.data / "repositories" / name / "segments").glob("*/*")
    return max(segments, key=lambda path: path.stat().st_size)


def test_a_flipped_bit(joined: Computer, segment: Path) -> None:
    """One file is lost; it is named, and all others are restored."""
    content = bytearray(segment.read_bytes())
    content[len(content) // 4] ^= 1
    segment.write_bytes(content)
    target = joined.folder / "back"
    restored = joined.obnam("restore", "latest", str(target), code=1)
    assert restored.value("status") == "INCOMPLETE"
    assert restored.value("not-restored") == "1"
    (warning,) = restored.err.splitlines()
    assert f"{joined.live}/large-" in warning
    assert "is damaged" in warning
    found = target / joined.live.relative_to("/")
    assert len(list(found.iterdir())) == 2
    assert (found / "small").read_text() == "small"
    verified = joined.obnam("verify", code=1)
    assert verified.value("status") == "DAMAGED"
    assert verified.value("damaged-files") == "1"
    assert f"{joined.live}/large-" in verified.err


def test_a_segment_cut_short(joined: Computer, segment: Path) -> None:
    """Everything behind the cut is lost, is found out at once, and is stored anew."""
    os.truncate(segment, MIB)
    verified = joined.obnam("verify", code=1)
    assert verified.value("status") == "DAMAGED"
    assert int(verified.value("missing-chunks")) > 4
    assert verified.err.count("trying again in") == 1
    assert "are damaged on the server" in joined.obnam("status", code=3).err
    done = joined.obnam("--json", "backup").json
    assert (done["warnings"], done["read-files"]) == (0, 0)
    assert done["healed-chunks"] > 4
    assert joined.obnam("verify").value("status") == "OK"
    assert tree(joined.restored("latest~1")) == tree(joined.live)
    joined.obnam("status")
    joined.backup()
