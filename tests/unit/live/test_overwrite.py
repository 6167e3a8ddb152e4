import os
from pathlib import Path

import pytest

from obnam.live.overwrite import Decision, Overwrite, decide
from obnam.model.entry import Kind

KEEP, REPLACE, REFUSE = Decision.KEEP, Decision.REPLACE, Decision.REFUSE
NEVER, IF_CHANGED, ALWAYS = Overwrite.NEVER, Overwrite.IF_CHANGED, Overwrite.ALWAYS


@pytest.fixture
def standing(tmp_path: Path) -> dict[str, os.stat_result]:
    (tmp_path / "file").write_bytes(b"12345")
    os.utime(tmp_path / "file", ns=(0, 777))
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "directory").mkdir()
    return {name: os.lstat(tmp_path / name) for name in ("file", "link", "directory")}


@pytest.mark.parametrize(
    ("overwrite", "existing", "kind", "size", "mtime_ns", "decision"),
    [
        (None, "file", Kind.FILE, 5, 777, REFUSE),
        (None, "link", Kind.DIRECTORY, None, None, REFUSE),
        (None, "directory", Kind.DIRECTORY, None, None, KEEP),
        (NEVER, "file", Kind.FILE, 6, 777, KEEP),
        (NEVER, "link", Kind.FILE, 6, 777, KEEP),
        (NEVER, "file", Kind.DIRECTORY, None, None, REFUSE),
        (NEVER, "link", Kind.DIRECTORY, None, None, REFUSE),
        (IF_CHANGED, "file", Kind.FILE, 5, 777, KEEP),
        (IF_CHANGED, "file", Kind.FILE, 6, 777, REPLACE),
        (IF_CHANGED, "file", Kind.FILE, 5, 778, REPLACE),
        (IF_CHANGED, "file", Kind.SYMLINK, None, None, REPLACE),
        (IF_CHANGED, "link", Kind.DIRECTORY, None, None, REPLACE),
        (ALWAYS, "file", Kind.FILE, 5, 777, REPLACE),
        (ALWAYS, "link", Kind.DIRECTORY, None, None, REPLACE),
        *((each, "directory", Kind.FILE, 5, 777, REFUSE) for each in (None, *Overwrite)),
        *((each, "directory", Kind.DIRECTORY, None, None, KEEP) for each in (None, *Overwrite)),
    ],
)
def test_decisions(
    standing: dict[str, os.stat_result],
    overwrite: Overwrite | None,
    existing: str,
    kind: Kind,
    size: int | None,
    mtime_ns: int | None,
    decision: Decision,
) -> None:
    assert decide(overwrite, standing[existing], kind, size, mtime_ns) is decision
