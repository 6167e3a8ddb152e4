"""The process of an embedded server, begun before anything is there to speak to it with.

It imports for a third of a second, and so does its client: without Twisted here, it begins before
that of the client. `obnam.repository.embedded` takes it over.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from attrs import define, field

from obnam.errors import EmbeddedServerFailed
from obnam.repository.private import PrivateDirectory, make_private

# No module is to be taken from the directory that the user happens to be in (-P); and the server
# runs in the private one.
_SERVER = ("-P", "-c", "from obnam_server.embedded import main; main()")


@define(eq=False)
class StartedServer:
    """The process, our end of its lifeline, and the end of the pipe that its log comes from."""

    data_directory: Path
    _directory: PrivateDirectory
    process: "subprocess.Popen[bytes]"
    line: socket.socket
    output: int
    _is_removed: bool = field(default=False, init=False)

    @property
    def private(self) -> Path:
        """Its private directory."""
        return self._directory.path

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
        if not self._is_removed:
            self._is_removed = True
            self._directory.remove()


def begin(data_directory: Path, private_parents: Sequence[Path]) -> StartedServer:
    """Start the server of ``data_directory``, which it makes if need be.

    Its private directory is made in the first of ``private_parents`` where its path is short
    enough for a socket: ``XDG_RUNTIME_DIR``, ``TMPDIR``, ``/tmp``. Raises `EmbeddedServerFailed`.
    """
    directory = make_private(data_directory, private_parents, time.time())
    try:
        return _spawn(data_directory.absolute(), directory)
    except BaseException:
        directory.remove()
        raise


def _spawn(data_directory: Path, directory: PrivateDirectory) -> StartedServer:
    private = directory.path
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
            pass_fds=(line, directory.lock),
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
    return StartedServer(data_directory, directory, process, ours, copy)


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
