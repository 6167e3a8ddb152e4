"""Whatever is wrong: one line that names it and the way out, an exit code, and no traceback."""

from pathlib import Path

import pytest

from tests.acceptance.computer import Computer


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("rots: [/]\n", "unknown key 'rots'; the known keys are roots,"),
        ("roots: 3\n", "roots: must be a list"),
        ("roots: [relative]\n", "roots: 'relative' must begin with / or ~"),
        ("roots: [/a, /a/b]\n", "roots: '/a' is there twice: '/a/b' lies in it"),
        ("roots: [/a, /a]\n", "roots: '/a' is there twice"),
        ("roots: [/a]\nworkers: 1\nroots: [/b]\n", "roots: is there twice (line 3)"),
        ("compression: gzip\n", "compression: 'gzip' is no compression"),
        ("workers: 0\n", "workers: must be a whole number"),
        ("cache_max_bytes: much\n", "cache_max_bytes: must be a whole number"),
        ("exclude_cache_tag_directories: 7\n", "must be true or false"),
        ("server_url: ftp://x\n", "must be like https://"),
        ("- a list\n", "must be a mapping"),
        ("roots: [\n", "is not YAML (line 2)"),
        ("roots:\n\t- /a\n", "is not YAML (line 2): found character that cannot start"),
        ("roots: !!timestamp x\n", "is not YAML"),
        ("? [roots]\n: 1\n? {roots: 1}\n: 2\n", "is not YAML (line 1): found unhashable key"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_configuration(computer: Computer, text: str, named: str) -> None:
    computer.configuration.write_bytes(text.encode("utf-8", "surrogateescape"))
    complaint = computer.refused("config")
    assert named in complaint
    assert str(computer.configuration) in complaint


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["bakup"], "did you mean 'backup'?"),
        (["backup", "/some/where"], "what is backed up are the `roots` in /"),
        (["backup", "--quiet"], "--quiet stands before the command: obnam --quiet backup"),
        (["key", "list", "-v"], "-v stands before the command: obnam -v key list"),
        (["backup", "--nonsense"], "No such option"),
        (["restore", "latest"], "Missing argument"),
        (["restore", "latest", "x", "--overwrite", "perhaps"], "--overwrite"),
        (["restore", "latest", ""], "a TARGET or PATH is empty"),
        (["restore", "latest", "x", "/a", ""], "a TARGET or PATH is empty"),
        (["init"], "either an INVITATION"),
        (["init", "x", "--passphrase-file", "y", "--no-passphrase"], "exclude each other"),
        (["init", "x", "--passphrase-file", "/nowhere"], "/nowhere: cannot be read"),
        (["init", "not an invitation", "--no-passphrase"], "the invitation cannot be used"),
        (["init", "https://127.0.0.1:1/#short", "--no-passphrase"], "as the server printed it"),
        (["list"], "secrets.yaml: does not exist; `obnam init`"),
        (["backup"], "secrets.yaml: does not exist; `obnam init`"),
        (["--config", "elsewhere.yaml", "list"], "elsewhere.yaml: does not exist"),
    ],
)
def test_usage(computer: Computer, arguments: list[str], named: str) -> None:
    assert named in computer.refused(*arguments)


def test_help_needs_nothing(tmp_path: Path) -> None:
    computer = Computer.new(tmp_path)
    computer.configuration.unlink()
    overview = computer.obnam("--help").out
    for command in ("init", "backup", "restore", "verify", "list-files", "chunkify", "key"):
        assert f"  {command} " in overview
        assert computer.obnam(command, "--help").out.startswith(f"Usage: obnam {command}")
    for text in (overview, computer.obnam("key", "--help").out):
        assert "..." not in text.partition("Commands:\n")[2]  # a sentence that is cut off


def test_nothing_to_back_up(joined: Computer) -> None:
    joined.configure([])
    assert "roots: name at least one" in joined.refused("backup")


def test_nobody_to_ask(computer: Computer, invitation: str) -> None:
    """Without a terminal there is no waiting for a passphrase."""
    assert "use --passphrase-file" in computer.refused("init", invitation)


def test_damaged_secrets(joined: Computer) -> None:
    joined.secrets.write_text("format: 1\n")
    assert "is damaged" in joined.refused("list")


def test_names_of_generations_and_paths(joined: Computer) -> None:
    assert "has no generation yet" in joined.refused("resolve", "latest")
    joined.backup()
    assert "is no reference" in joined.refused("resolve", "newest")
    assert "no such generation" in joined.refused("resolve", "latest~1")
    assert "no such generation" in joined.refused("restore", "@2001-01-01", "target")
    complaint = joined.refused("restore", "latest", str(joined.folder / "x"), "/no/such/path")
    assert "/no/such/path" in complaint
    assert not (joined.folder / "x").exists()


def test_target_that_cannot_be(joined: Computer) -> None:
    joined.backup()
    file = joined.folder / "a file"
    file.touch()
    assert str(file) in joined.refused("restore", "latest", str(file))
    nowhere = joined.folder / "not there" / "below"
    assert "below" in joined.refused("restore", "latest", str(nowhere))


def test_target_that_may_not_be_written(joined: Computer) -> None:
    joined.backup()
    folder = joined.folder / "folder"
    folder.mkdir(mode=0o500)
    for target in (folder, folder / "new"):
        done = joined.obnam("restore", "latest", str(target), code=2, mortal=True)
        assert str(target) in done.complaint
    assert list(folder.iterdir()) == []


def test_cache_that_cannot_be_written(joined: Computer) -> None:
    cache = joined.folder / ".cache"
    cache.rmdir() if cache.is_dir() and not any(cache.iterdir()) else None
    cache.write_text("a file is in the way")
    assert ".cache" in joined.refused("backup", code=1)
