"""Commands that only look, and how they print."""

import base64
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.computer import COMMANDS, Computer
from tests.support.server_process import ServerProcess


def test_references(joined: Computer) -> None:
    """One of each form; what they mean in detail is tried in tests/unit/model."""
    ids = [joined.backup().value("generation-id") for _ in range(3)]
    minute = time.strftime("@%Y-%m-%dT%H:%M", time.gmtime())
    for reference, generation in {
        "latest": ids[2],
        "latest~2": ids[0],
        ids[1][:12]: ids[1],
        minute: ids[2],
    }.items():
        assert joined.obnam("resolve", reference).lines == [generation], reference


def test_json(joined: Computer) -> None:
    """Every command that prints prints JSON, and so do errors."""
    (joined.live / "file").write_text("x")
    os.symlink(b"\xff", os.fsencode(joined.live) + b"/\xff")
    generation = joined.obnam("--json", "backup").json["generation-id"]
    assert joined.obnam("--json", "resolve", "latest").json == {"generation": generation}
    assert [each["generation"] for each in joined.obnam("--json", "list").json] == [generation]
    shown = joined.obnam("--json", "show-generation").json
    assert shown["roots"] == [{"path": str(joined.live)}]
    assert (shown["entries"], shown["partial"], shown["sequence"]) == (3, False, 1)
    entries = [json.loads(line) for line in joined.obnam("--json", "list-files").lines]
    assert [each["kind"] for each in entries] == ["d", "f", "l"]
    assert entries[1]["path"] == str(joined.live / "file")
    assert "path" not in entries[2]
    assert entries[2]["target"] == {"path_base64": "/w=="}
    assert joined.obnam("--json", "status").json["latest"] == generation
    assert joined.obnam("--json", "config").json["compression"] == "zstd:1"
    target = joined.folder / "target"
    assert joined.obnam("--json", "restore", "latest", str(target)).json["files"] == 1
    failed = joined.obnam("--json", "resolve", "nonsense", code=2)
    error = json.loads(failed.err.splitlines()[-1])
    assert error["error"] == "UnknownReference"
    assert error["temporary"] is False


def test_quiet(joined: Computer) -> None:
    """Results are not printed, warnings are."""
    done = joined.obnam("--quiet", "backup")
    assert (done.out, done.err) == ("", "")
    cache = joined.live / "cache"
    cache.mkdir()
    (cache / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    done = joined.obnam("--quiet", "backup", code=3)
    assert done.out == ""
    assert done.complaint.startswith("obnam: warning: ")


def test_config_shows_no_secrets(joined: Computer) -> None:
    """It shows what is in effect, as JSON in any case."""
    joined.configure(["~/live"], "workers: 3\n")
    shown = joined.obnam("config").json
    assert shown["roots"] == [str(joined.live)]
    assert (shown["workers"], shown["cache_max_bytes"]) == (3, 1 << 30)
    for line in joined.secrets.read_text().splitlines():
        if line.startswith(("token", "master_key")):
            assert line.partition(": ")[2].strip('"') not in json.dumps(shown)


def test_chunkify(joined: Computer) -> None:
    """Pieces that are laid end to end give the file; the same content has the same pieces."""
    content = os.urandom(5 << 20)
    (joined.live / "one").write_bytes(content)
    (joined.live / "two").write_bytes(content[:1000])
    names = [str(joined.live / name) for name in ("one", "two")]
    one, two = joined.obnam("chunkify", *names).json
    assert (one["path"], one["size"], one["bundled"]) == (names[0], len(content), False)
    assert two["bundled"] is True
    end = 0
    for chunk in one["chunks"]:
        assert chunk["offset"] == end
        end += chunk["length"]
    assert end == len(content)
    assert len(one["chunks"]) >= 3
    joined.refused("chunkify", "/no/such/file", code=1)


def test_what_cannot_be_chunkified(joined: Computer) -> None:
    """Named, and not waited for."""
    pipe = joined.live / "pipe"
    os.mkfifo(pipe)
    assert f"{pipe}: is not a regular file" in joined.refused("chunkify", str(pipe), code=1)
    assert f"{joined.live}: " in joined.refused("chunkify", str(joined.live), code=1)


def test_status(joined: Computer, name: str) -> None:
    assert joined.obnam("status").value("latest").startswith("none")
    generation = joined.backup().value("generation-id")
    done = joined.obnam("status")
    assert done.value("latest").startswith(generation)
    assert (done.value("client"), done.value("may")) == (name, "backup, restore")


def test_a_reader_that_leaves(joined: Computer) -> None:
    """``obnam list-files | head -1``: no error."""
    for number in range(6000):
        (joined.live / f"file {number:05} {'x' * 30}").touch()
    joined.backup()
    process = joined.start("list-files")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("d ")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(30) == 141
    process.stderr.close()


def test_progress_on_a_terminal_only(joined: Computer, tmp_path: Path) -> None:
    """On a terminal a display comes and goes; what is printed last is the same."""
    (joined.live / "file").write_bytes(os.urandom(1 << 20))
    assert joined.backup().err == ""
    transcript = tmp_path / "transcript"
    subprocess.run(
        ["script", "-qec", f"{COMMANDS / 'obnam'} backup", transcript],
        env={**joined.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    assert "generation-id: " in transcript.read_text()


def test_what_is_shown_while_it_takes_long(joined: Computer, tmp_path: Path) -> None:
    """On a terminal: files, bytes, how fast, how long it will take. Elsewhere nothing."""
    joined.configure([joined.live], 'compression: "zstd:19"\nworkers: 1\n')
    for number in range(12):
        (joined.live / f"file {number}").write_bytes(base64.b64encode(os.urandom(1_100_000)))
    transcript = tmp_path / "transcript"
    subprocess.run(
        ["script", "-qec", f"stty cols 120; {COMMANDS / 'obnam'} backup", transcript],
        env={**joined.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    shown = transcript.read_text()
    for part in ("backup ", " files", " MB/s", "0:00:"):
        assert part in shown
    assert shown.count("generation-id: ") == 1
    for file in joined.live.iterdir():
        file.write_bytes(base64.b64encode(os.urandom(1_100_000)))
    done = joined.backup()
    assert done.err == ""
    assert len(done.lines) == 5


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_with_nowhere_to_print_to(joined: Computer, redirection: str) -> None:
    """As a careless cron job has it: the work is done, and the exit code is right."""
    (joined.live / "file").write_text("content")
    for arguments, code in (("backup", 0), ("resolve nothing", 2)):
        command = f"{COMMANDS / 'obnam'} {arguments} {redirection}"
        done = subprocess.run(
            ["sh", "-c", command],
            env=dict(joined.environment),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert joined.reasons()["file"] == "new"


@pytest.mark.parametrize(("redirection", "code"), [("| head -n 0", 141), (">&-", 0)])
def test_the_servers_command_with_nobody_to_read(
    server: ServerProcess, redirection: str, code: int
) -> None:
    program = f"{COMMANDS / 'obnam-server'} --config {server.config} client list"
    command = f"({program}; echo $? >&2) {redirection}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == f"{code}\n"
