"""A real server: ``twist obnam-server`` as a child process, with TLS (or a Unix socket).

It is ready when its log says that it listens; nothing here sleeps or polls.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Condition, Event, Thread

import obnam_server
from obnam.model.ids import parse_client_name, parse_repository_name
from obnam_server.admin.clients import invite
from obnam_server.config import load
from obnam_server.listening import read_listening

START_S = 30.0
"""A server that does not listen by then is ended, and the test fails with its log."""

STOP_S = 30.0

WORKERS = int(os.environ.get("OBNAM_TEST_WORKERS", "0"))
"""Of servers that do not say: whatever is tested with a server must hold with workers, too."""

LISTENS = "obnam-server listens on"
"""What the server logs once it does."""

STOPPED = "obnam-server has stopped"
"""What it logs when all that was under way is done."""


class ServerProcess:
    """A server of its own in ``folder``, on a port that the system chooses, or on a socket.

    The data directory is ``folder/data``. Use it as a context manager, or call `start` and
    `stop`; it can be started again after `stop` and after `kill`, on a new port.
    """

    def __init__(
        self,
        folder: Path,
        *,
        unix: bool = False,
        more: str = "",
        program: Sequence[str] = (sys.executable, "-m", "twisted", "--log-format", "text"),
    ) -> None:
        self._program = program
        self.folder = folder
        self.data = folder / "data"
        self.config = folder / "server.yaml"
        self.socket = folder / "server.socket"
        listen = f"unix:{self.socket}" if unix else "tcp:0:interface=127.0.0.1"
        folder.mkdir(parents=True, exist_ok=True)
        if not unix and "workers:" not in more:
            more += f"workers: {WORKERS}\n"
        # No rounds by themselves: what a test sees must not hang on how long it has been running.
        self.config.write_text(
            f"data_directory: {self.data}\nlisten: ['{listen}']\nupkeep_every_minutes: 0\n{more}"
        )
        self.log: list[str] = []
        self._child: subprocess.Popen[str] | None = None
        self._reader: Thread | None = None
        self._said = Event()
        self._more = Condition()
        self._listens = False

    def __enter__(self) -> "ServerProcess":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._child is not None
        return self._child.pid

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT`` or ``unix:PATH`` of the running server."""
        found = read_listening(self.data)
        assert found is not None, "the server does not run"
        return found.addresses[0]

    @property
    def pin(self) -> str:
        """The pin of the server's self-signed certificate."""
        return self.invite("only-for-its-pin").rpartition(".")[2]

    def invite(
        self,
        name: str,
        repository: str | None = None,
        scopes: Sequence[str] = ("backup", "restore"),
        expires_ns: int | None = None,
    ) -> str:
        """The invitation line for a client."""
        line = invite(
            load(self.config),
            parse_client_name(name),
            parse_repository_name(repository or name),
            scopes,
            time.time_ns() + 3600 * 10**9 if expires_ns is None else expires_ns,
        )
        return str(line)

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._said.clear()
        self.log.clear()
        self._child = subprocess.Popen(
            [*self._program, "obnam-server", "--config", str(self.config)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": _with_our_plugin()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = Thread(target=self._read, args=(self._child,), daemon=True)
        self._reader.start()
        in_time = self._said.wait(START_S)
        if not in_time or self._child.poll() is not None or not self._listens:
            self._child.kill()
            self._ended()
            raise AssertionError("the server did not start:\n" + self.log_text)

    def _read(self, child: "subprocess.Popen[str]") -> None:
        """Take its log in, so that it never waits for us."""
        assert child.stdout is not None
        self._listens = False
        for line in child.stdout:
            with self._more:
                self.log.append(line)
                self._more.notify_all()
            if LISTENS in line:
                self._listens = True
                self._said.set()
        self._said.set()

    def stop(self) -> None:
        """SIGTERM, and wait. Harmless when it does not run. Fails if it did not end by the book."""
        if self._child is None:
            return
        self._child.send_signal(signal.SIGTERM)
        code = self._ended()
        # Twisted ends with the signal that it was given, once everything is stopped.
        if code not in (0, -signal.SIGTERM) or STOPPED not in self.log_text:
            raise AssertionError(f"the server ended with {code}:\n" + self.log_text)

    def kill(self) -> None:
        """SIGKILL: what a power failure does to a process."""
        assert self._child is not None
        self._child.kill()
        self._ended()

    def restart(self) -> None:
        """`stop` and `start`."""
        self.stop()
        self.start()

    def _ended(self) -> int:
        assert self._child is not None
        assert self._reader is not None
        child, self._child = self._child, None
        try:
            code = child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise AssertionError("the server did not stop:\n" + self.log_text) from None
        finally:
            self._reader.join()
            assert child.stdout is not None
            child.stdout.close()
        return code

    def wait_for(self, text: str) -> str:
        """The first line of its log with ``text`` in it, when there is one."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [line for line in self.log if text in line]
            return bool(found)

        with self._more:
            assert self._more.wait_for(there, START_S), self.log_text
        return found[0]

    @property
    def log_text(self) -> str:
        """All that it said since it was last started."""
        return "".join(self.log)


def _with_our_plugin() -> str:
    """``PYTHONPATH`` with the folder that holds our packages, and so ``twisted/plugins``.

    An editable install hides the plugin: its finder knows packages, and it is none.
    """
    ours = str(Path(obnam_server.__file__).parent.parent)
    theirs = os.environ.get("PYTHONPATH")
    return f"{ours}{os.pathsep}{theirs}" if theirs else ours
