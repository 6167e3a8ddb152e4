"""Whoever runs a server, with the installed ``obnam-server`` command."""

import json
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.acceptance.computer import COMMANDS


@frozen
class Administrator:
    """Of the server with this configuration."""

    config: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command, however it ends, but with a traceback."""
        ended = subprocess.run(
            [COMMANDS / "obnam-server", "--config", self.config, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended

    def done(self, *arguments: str) -> str:
        """What it prints when it went well."""
        ended = self.run(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, *arguments: str) -> Any:
        """The same with ``--json``."""
        return json.loads(self.done("--json", *arguments))

    def refused(self, *arguments: str) -> str:
        """The one line that it ends with."""
        ended = self.run(*arguments)
        assert ended.returncode in (1, 2)
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        assert line.startswith("obnam-server: ")
        return line
