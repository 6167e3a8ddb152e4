"""The programs that are compared: how each makes a repository, backs up into it and restores.

Every program gets a home directory of its own, emptied at the start of each round, with its
repository, configuration, caches and state: nothing of the user's is read or written, and every
first backup starts without a cache. Except for that, each runs as its users run it by default.
"""

import abc
import functools
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Command, CommandFailed, failure

PASSPHRASE = "correct horse battery staple"
SERVER_START_S = 30
SERVER_STOP_S = 60
SERVER_POLL_S = 0.05


class Server:
    """The server of a program, running as a process of its own on the loopback interface."""

    def __init__(self, command: Command, port: int, log: Path) -> None:
        """Start it, and return when it accepts connections. Raises CommandFailed."""
        with log.open("ab") as output:
            self._process = subprocess.Popen(**command.options(), stdout=output, stderr=output)
        deadline = time.monotonic() + SERVER_START_S
        while not _listening(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise failure(command, self._process.returncode, log)
            time.sleep(SERVER_POLL_S)

    @property
    def pid(self) -> int:
        """Its first process."""
        return self._process.pid

    def stop(self) -> None:
        """End it, and return when it has ended."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(SERVER_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Program(abc.ABC):
    """One way to back up the tree at `root`, with everything it needs below `home`."""

    def __init__(self, home: Path, root: Path) -> None:
        self.home = home
        self.root = root
        self.repository = home / "repository"
        self.log = home / "log"
        self.server: Server | None = None

    @abc.abstractmethod
    def versions(self) -> list[str]:
        """One line for each program that takes part."""

    @abc.abstractmethod
    def backup(self) -> Command:
        """Back up the root once more."""

    @abc.abstractmethod
    def restore(self, target: Path) -> Command:
        """Restore the newest backup into the existing, empty directory `target`."""

    @abc.abstractmethod
    def make_repository(self) -> None:
        """Make an empty repository, and start the server where there is one."""

    def prepare(self) -> None:
        """Start from nothing: an empty home directory and a new, empty repository."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
        self.make_repository()

    def restored(self, target: Path) -> Path:
        """Where below `target` the root is found again."""
        return target / self.root.relative_to("/")

    def size_bytes(self) -> int:
        """Sum of the sizes of all files of the repository."""
        statuses = (path.lstat() for path in self.repository.rglob("*"))
        return sum(status.st_size for status in statuses if stat.S_ISREG(status.st_mode))

    def server_pid(self) -> int | None:
        """First process of the server, where there is one."""
        return self.server.pid if self.server else None

    def stop(self) -> None:
        """End the server, where there is one."""
        if self.server:
            self.server.stop()
            self.server = None

    def command(self, *argv: str | Path, directory: Path | None = None, **extra: str) -> Command:
        """A command in the private environment of the program."""
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "XDG_CACHE_HOME": str(self.home / "cache"),
            "XDG_STATE_HOME": str(self.home / "state"),
            **extra,
        }
        return Command(tuple(map(str, argv)), environment, directory or self.home)

    def run(self, command: Command) -> str:
        """Run one command that is not measured; return what it printed. Raises CommandFailed."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                command.argv,
                env=command.environment,
                cwd=command.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise failure(command, done.returncode, self.log)
        return done.stdout


class Obnam(Program):
    """Obnam over TLS, with its server as a process of its own."""

    def __init__(self, home: Path, root: Path, commands: Path) -> None:
        super().__init__(home, root)
        self._commands = commands
        self._configuration = home / "obnam.yaml"

    def versions(self) -> list[str]:
        """The one line of `obnam --version`: client and server are one distribution."""
        return [_first_line(str(self._commands / "obnam"), "--version")]

    def make_repository(self) -> None:
        """Start the server, invite a client, and let it join."""
        port = free_port()
        config = ("--config", self._server_configuration(port))
        twistd = self.command(
            self._commands / "twistd", "-n", "--pidfile=", "obnam-server", *config
        )
        self.server = Server(twistd, port, self.log)
        invite = self.command(
            self._commands / "obnam-server", *config, "client", "add", "benchmark"
        )
        self._initialise(self.run(invite).splitlines()[-1])

    def backup(self) -> Command:
        """`obnam backup`, with everything at its default."""
        return self._obnam("backup")

    def restore(self, target: Path) -> Command:
        """`obnam restore latest`."""
        return self._obnam("restore", "latest", target)

    def _initialise(self, *where: str | Path) -> None:
        # JSON is YAML.
        self._configuration.write_text(json.dumps({"roots": [str(self.root)]}))
        self.run(self._obnam("init", *where, "--no-passphrase"))

    def _obnam(self, *arguments: str | Path) -> Command:
        command = self._commands / "obnam"
        return self.command(command, "--config", self._configuration, *arguments)

    def _server_configuration(self, port: int) -> Path:
        path = self.home / "server.yaml"
        settings = {
            "data_directory": str(self.repository),
            "listen": [f"tcp:{port}:interface=127.0.0.1"],
            "public_url": f"https://127.0.0.1:{port}",
        }
        path.write_text(json.dumps(settings))
        return path


class EmbeddedObnam(Obnam):
    """Obnam with a repository in a local directory: each command runs its own server."""

    def make_repository(self) -> None:
        """Make the repository; there is no server to start."""
        self._initialise("--repository", self.repository)


class Restic(Program):
    """restic over plain HTTP, with `rclone serve restic` as its server."""

    _port = 0

    def versions(self) -> list[str]:
        """The lines of restic and of rclone."""
        return [_first_line("restic", "version"), _first_line("rclone", "version")]

    def make_repository(self) -> None:
        """Start rclone, and make a repository of format 2, which compresses."""
        self.repository.mkdir()
        self._port = free_port()
        self.server = Server(
            self.command(
                *("rclone", "serve", "restic", "--addr", f"127.0.0.1:{self._port}"),
                *("--config", self.home / "rclone.conf", self.repository),
            ),
            self._port,
            self.log,
        )
        self.run(self._restic("init", "--repository-version", "2"))

    def backup(self) -> Command:
        """`restic backup`; it finds the parent of the same host and path itself."""
        return self._restic("backup", self.root)

    def restore(self, target: Path) -> Command:
        """`restic restore latest`."""
        return self._restic("restore", "latest", "--target", target)

    def _restic(self, *arguments: str | Path) -> Command:
        return self.command(
            "restic",
            *arguments,
            RESTIC_REPOSITORY=f"rest:http://127.0.0.1:{self._port}/",
            RESTIC_PASSWORD=PASSPHRASE,
        )


class Borg(Program):
    """borg with a repository in a local directory: no network, no server, lz4."""

    _backups = 0

    def versions(self) -> list[str]:
        """The line of borg."""
        return [_first_line("borg", "--version")]

    def make_repository(self) -> None:
        """Make an encrypted repository with the key in it."""
        self.run(self._borg("init", "--encryption", "repokey"))

    def backup(self) -> Command:
        """`borg create`, under the next number."""
        self._backups += 1
        return self._borg("create", f"::{self._backups}", self.root)

    def restore(self, target: Path) -> Command:
        """`borg extract` of the newest number; it writes into its working directory."""
        return self._borg("extract", f"::{self._backups}", directory=target)

    def _borg(self, *arguments: str | Path, directory: Path | None = None) -> Command:
        return self.command(
            "borg",
            *arguments,
            directory=directory,
            BORG_BASE_DIR=str(self.home),
            BORG_REPO=str(self.repository),
            BORG_PASSPHRASE=PASSPHRASE,
        )


def makers(obnam_commands: Path) -> dict[str, Callable[[Path, Path], Program]]:
    """Every program by name; `obnam_commands` is the directory of Obnam's installed commands."""
    return {
        "obnam": functools.partial(Obnam, commands=obnam_commands),
        "obnam-embedded": functools.partial(EmbeddedObnam, commands=obnam_commands),
        "restic": Restic,
        "borg": Borg,
    }


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_command(command: Command, *more: str) -> str:
    """What a command prints. Raises CommandFailed."""
    done = subprocess.run(
        [*command.argv, *more],
        env=command.environment,
        cwd=command.directory,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command.argv)}: {done.stderr}")
    return done.stdout


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _first_line(*argv: str) -> str:
    try:
        output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise CommandFailed(f"{argv[0]} does not run: {error}") from error
    return output.splitlines()[0]
