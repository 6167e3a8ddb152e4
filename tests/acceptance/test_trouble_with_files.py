"""What cannot be read, is not there, or is marked as a cache."""

import shutil
from pathlib import Path

from attrs import evolve

from tests.acceptance.computer import Computer

TAG = "Signature: 8a477f597d28d172789f06886806bc55\n"


def test_unreadable_file(joined: Computer) -> None:
    """A warning, exit code 3; tried again every time; what was stored before is kept."""
    file = joined.live / "secret"
    file.write_text("first")
    joined.backup(mortal=True)
    file.write_text("second, longer")
    file.chmod(0)
    done = joined.backup(code=3, mortal=True)
    assert done.value("warnings") == "1"
    assert f"{file}: cannot be read" in done.err
    assert joined.reasons()["secret"] == "error"
    assert (joined.restored("latest", code=0) / "secret").read_text() == "first"
    joined.backup(code=3, mortal=True)
    file.chmod(0o600)
    joined.backup(mortal=True)
    assert joined.reasons()["secret"] == "changed"
    assert (joined.restored() / "secret").read_text() == "second, longer"


def test_unreadable_and_unsearchable_directories(joined: Computer) -> None:
    """Both are warnings; everything else is backed up, and what was known of them is kept."""
    modes = {"unreadable": 0o300, "unsearchable": 0o600}
    for name in modes:
        folder = joined.live / name
        folder.mkdir()
        (folder / "inside").write_text(name)
    joined.backup(mortal=True)
    for name, mode in modes.items():
        (joined.live / name).chmod(mode)
    (joined.live / "other").write_text("other")
    done = joined.backup(code=3, mortal=True)
    for name in modes:
        assert f"{joined.live}/{name}" in done.err
    reasons = joined.reasons()
    assert reasons["other"] == "new"
    assert reasons["unreadable"] == reasons["unreadable/inside"] == "error"
    assert reasons["unsearchable/inside"] == "error"
    restored = joined.restored()
    for name in modes:
        assert (restored / name / "inside").read_text() == name


def test_missing_root(joined: Computer, tmp_path: Path) -> None:
    """A forgotten mount is no mass deletion: nothing is backed up."""
    joined.configure([joined.live, tmp_path / "not mounted"])
    complaint = joined.refused("backup", code=1)
    assert f"root {tmp_path}/not mounted" in complaint
    link = tmp_path / "link"
    link.symlink_to(joined.live)
    for root, why in ((link, "symbolic link"), (joined.configuration, "not a directory")):
        joined.configure([joined.live, root])
        complaint = joined.refused("backup", code=1)
        assert f"root {root}: " in complaint
        assert why in complaint
    assert joined.obnam("list").out == ""


def test_cache_directories_are_left_out(joined: Computer) -> None:
    """With their tag kept; a new tag is reported once."""
    cache = joined.live / "cache"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_text(TAG)
    (cache / "data").write_text("can be made again")
    joined.backup()
    assert joined.reasons() == {
        ".": "new",
        "cache": "skipped",
        "cache/CACHEDIR.TAG": "new",
    }
    other = joined.live / "other"
    other.mkdir()
    (other / "data").write_text("dear")
    joined.backup()
    (other / "CACHEDIR.TAG").write_text(TAG)
    done = joined.backup(code=3)
    assert f"{other}: a new CACHEDIR.TAG" in done.err
    assert "other/data" not in joined.reasons()
    joined.backup()


def test_cache_directories_are_kept_if_wanted(joined: Computer) -> None:
    joined.configure([joined.live], "exclude_cache_tag_directories: false\n")
    (joined.live / "CACHEDIR.TAG").write_text(TAG)
    (joined.live / "data").write_text("dear")
    joined.backup()
    assert joined.reasons()["data"] == "new"


def test_a_wrong_tag_is_no_tag(joined: Computer) -> None:
    (joined.live / "CACHEDIR.TAG").write_text("Signature: of something else")
    (joined.live / "data").write_text("dear")
    joined.backup()
    assert joined.reasons()["data"] == "new"


def test_a_rescue_system_without_a_home(joined: Computer) -> None:
    """Configuration and secrets, brought along, are enough to get everything back."""
    (joined.live / "file").write_text("dear")
    joined.backup()
    stick = joined.folder / "stick"
    shutil.copytree(joined.configuration.parent, stick)
    rescue = evolve(joined, environment={**joined.environment, "HOME": "/dev/null/nowhere"})
    target = joined.folder / "target"
    configuration = ("--config", str(stick / "obnam.yaml"))
    rescue.obnam(*configuration, "list")
    rescue.obnam(*configuration, "verify")
    done = rescue.obnam(*configuration, "restore", "latest", str(target))
    assert "not noted here" in done.err
    assert (target / joined.live.relative_to("/") / "file").read_text() == "dear"
