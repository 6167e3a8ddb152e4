"""The process of an embedded server, begun before anything is there to speak to it with.

It imports for a third of a second, and so does its client: without Twisted here, it begins before
that of the client. `obnam.repository.embedded` takes it over.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from attrs import define

from obnam.errors import EmbeddedServerFailed
from obnam.wire.limits import SOCKET_PATH_MAX

# No module is to be taken from the directory that the user happens to be in (-P); and the server
# runs in the private one.
_SERVER = ("-P", "-c", "from obnam_server.embedded import main; main()")


@define(eq=False)
class StartedServer:
    """The process, our end of its lifeline, and the end of the pipe that its log comes from."""

    data_directory: Path
    private: Path
    process: "subprocess.Popen[bytes]"
    line: socket.socket
    output: int

    @property
    def socket_path(self) -> str:
        """Where it listens once it is ready."""
        return str(self.private / "socket")

    @property
    def configuration(self) -> Path:
        """Its configuration file."""
        return self.private / "server.yaml"

    @property
    def ending(self) -> str:
        """How its process has ended."""
        code = self.process.poll()
        return f"status {code}" if code is None or code >= 0 else f"signal {-code}"

    def remove_private(self) -> None:
        """Remove its private directory. For who will not come to stop it: it ends with us."""
        shutil.rmtree(self.private, ignore_errors=True)


def begin(data_directory: Path, private_parents: Sequence[Path]) -> StartedServer:
    """Start the server of ``data_directory``, which it makes if need be.

    Its private directory is made in the first of ``private_parents`` where its path is short
    enough for a socket: ``XDG_RUNTIME_DIR``, ``TMPDIR``, ``/tmp``. Raises `EmbeddedServerFailed`.
    """
    private = _private_directory(data_directory, private_parents)
    try:
        return _spawn(data_directory.absolute(), private)
    except BaseException:
        shutil.rmtree(private, ignore_errors=True)
        raise


def _spawn(data_directory: Path, private: Path) -> StartedServer:
    ours, theirs = socket.socketpair()
    try:
        settings = {
            "data_directory": str(data_directory),
            "listen": ["unix:" + _quoted(str(private / "socket"))],
            "upkeep_every_minutes": 0,  # but see `EmbeddedServer.look_after`
        }
        configuration = private / "server.yaml"
        configuration.write_text(json.dumps(settings))  # JSON is YAML
        line = theirs.fileno()
        process = subprocess.Popen(
            [sys.executable, *_SERVER, f"--lifeline={line}", "--config", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(line,),
            env=environment(data_directory),
            cwd=private,
        )
        output = process.stdout
        if output is None:
            raise EmbeddedServerFailed(str(data_directory), "its server has no output")
        with output:
            copy = os.dup(output.fileno())
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return StartedServer(data_directory, private, process, ours, copy)


def environment(data_directory: Path) -> dict[str, str]:
    """Ours, and the place of the server's package, wherever that is."""
    found = find_spec("obnam_server")
    if found is None or found.origin is None:
        raise EmbeddedServerFailed(str(data_directory), "obnam-server is not installed here")
    places = [str(Path(found.origin).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}


def _quoted(argument: str) -> str:
    """As in an endpoint string of Twisted's (``quoteStringArgument``)."""
    return argument.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def _private_directory(data_directory: Path, parents: Sequence[Path]) -> Path:
    """A new directory that only we can enter, with room for a socket's name."""
    problem = "there is no directory for its socket"
    for parent in parents:
        try:
            private = Path(tempfile.mkdtemp(prefix="obnam-", dir=parent))  # mode 0700
        except OSError as error:
            problem = f"no directory for its socket can be made in {parent}: {error.strerror}"
            continue
        if len(os.fsencode(private / "socket")) <= SOCKET_PATH_MAX:
            return private
        private.rmdir()
        problem = f"the path of {parent} is too long for a socket; set TMPDIR to a shorter one"
    raise EmbeddedServerFailed(str(data_directory), problem)
