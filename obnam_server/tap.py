"""What the twistd plugin names: options of the command line, and the service they make."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast

from twisted.application.service import MultiService
from twisted.internet.base import ReactorBase
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.python import usage

from obnam import open_files
from obnam.errors import ConfigurationError, ObnamError
from obnam.memory import collect_seldom, reuse_buffers
from obnam_server.config import Settings, load
from obnam_server.lent import LentMemories
from obnam_server.lifeline import Lifeline
from obnam_server.reload import HangUp
from obnam_server.service import ServerService

FILES_MAX = 65_536
"""Open files: connections, uploads, databases."""


_STATUS_MAX = 98
"""Bytes of what went wrong that a twistd in the foreground reads of the one in the background."""


class Options(usage.Options):
    """``twistd obnam-server`` and its options."""

    optParameters: ClassVar[list[list[object]]] = [
        ["config", "c", None, "The configuration file, server.yaml."],
        [
            "lifeline",
            None,
            None,
            "An inherited socket (its number): say there when ready, stop when it is closed.",
            int,
        ],
        [
            "worker",
            None,
            None,
            "Carry for the server that began this process: its listening sockets (1,2,…).",
            lambda text: [int(number) for number in text.split(",")],
        ],
    ]
    longdesc = "Keeps sealed chunks and generations for Obnam clients. See docs/operations."

    def postOptions(self) -> None:
        """Read the configuration, so that what is wrong with it is said at once, in one line."""
        if self["config"] is None:
            raise usage.UsageError("--config is missing: the path of server.yaml")
        try:
            self["settings"] = load(Path(self["config"]))
        except ConfigurationError as error:
            # Not a `UsageError`: for that, twistd prints its whole help first.
            raise SystemExit(f"obnam-server: {error}") from error


class _Server(MultiService):
    """Turns what is foreseen to go wrong at the start into one line. ``twistd``: its options."""

    twistd: usage.Options | None = None

    def startService(self) -> None:
        """Start the services. Ends the process with a message when one cannot start."""
        try:
            super().startService()
        except ObnamError as error:
            line = f"obnam-server: {error}"
            self._tell_who_started_us(line)
            raise SystemExit(line) from error

    def _tell_who_started_us(self, line: str) -> None:
        """In the background, twistd tells of other exceptions only: they would wait for ever."""
        pipe = None if self.twistd is None else self.twistd.get("statusPipe")
        if self.twistd is not None and pipe is not None:
            os.write(pipe, b"1 " + os.fsencode(line)[:_STATUS_MAX])
            os.close(pipe)
            if self.twistd["pidfile"]:
                Path(self.twistd["pidfile"]).unlink(missing_ok=True)


def compose(settings: Settings, reactor: ReactorBase, lifeline: int | None = None) -> _Server:
    """The whole server as one service. ``lifeline``: see `obnam_server.lifeline`."""
    server = _Server()
    lent = None if lifeline is None else LentMemories()
    service = ServerService(settings, reactor, time.time_ns, lent)
    service.setServiceParent(server)
    if lifeline is None:
        HangUp(reactor, service.reload).setServiceParent(server)
    else:
        Lifeline(reactor, lifeline, service.upkeep, lent).setServiceParent(server)
    return server


def compose_worker(
    settings: Settings, reactor: ReactorBase, lifeline: int, descriptors: Sequence[int]
) -> MultiService:
    """A worker process as one service. ``descriptors``: the listening sockets."""
    from obnam_server.workers.service import WorkerService  # of no use to others

    server = _Server()
    service = WorkerService(settings, reactor, descriptors)
    service.setServiceParent(server)
    HangUp(reactor, service.reload).setServiceParent(server)
    Lifeline(reactor, lifeline).setServiceParent(server)
    return server


def makeService(options: Options) -> MultiService:
    """What twistd calls."""
    from twisted.internet import reactor

    reuse_buffers()
    collect_seldom()
    open_files.allow(FILES_MAX)
    settings, lifeline = options["settings"], options["lifeline"]
    if options["worker"] is not None:
        return compose_worker(settings, cast(ReactorBase, reactor), lifeline, options["worker"])
    server = compose(settings, cast(ReactorBase, reactor), lifeline)
    server.twistd = options.parent
    return server


def run(arguments: Sequence[str]) -> None:
    """Be a server until a signal, or its lifeline, ends it: see `obnam_server.embedded`."""
    from twisted.internet import reactor

    options = Options()
    options.parseOptions(arguments)
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    service = makeService(options)
    service.startService()
    running = cast(ReactorBase, reactor)
    running.addSystemEventTrigger("before", "shutdown", service.stopService)
    running.run()
