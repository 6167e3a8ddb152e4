"""The `obnam-server` command in this process, as tests call it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from obnam_server.admin.main import main

Command = Callable[..., tuple[int, str, str]]
"""Takes arguments; gives exit code, standard output and standard error."""


def command_on(config: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command with a configuration."""

    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(config), *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return command
