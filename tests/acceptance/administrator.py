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

    def run(self, *arguments: str, code: int | None = None) -> "subprocess.CompletedProcess[str]":
        """The command, which ends with ``code``, or as it likes; never with a traceback."""
        ended = subprocess.run(
            [COMMANDS / "obnam-server", "--config", self.config, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in ended.stderr, ended.stderr
        assert code in (None, ended.returncode), ended.stderr
        return ended

    def done(self, *arguments: str) -> str:
        """What it prints when it went well."""
        return self.run(*arguments, code=0).stdout

    def json(self, *arguments: str, code: int = 0) -> Any:
        """The same with ``--json``."""
        return json.loads(self.run("--json", *arguments, code=code).stdout)

    def refused(self, *arguments: str, code: int = 1) -> str:
        """The one line that it ends with."""
        ended = self.run(*arguments, code=code)
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        assert line.startswith("obnam-server: ")
        return line
