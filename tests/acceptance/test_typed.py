"""What somebody types at a terminal: an invitation, passphrases, slips and second thoughts."""

import os
import select
import subprocess
from collections.abc import Sequence

import pytest

from tests.acceptance.computer import COMMANDS, PATIENCE_S, Computer

CTRL_D = "\x04"


def typed(computer: Computer, arguments: Sequence[str], answers: Sequence[str]) -> tuple[int, str]:
    """Run ``obnam``, and type an answer at each prompt; its exit code, and what was to be seen."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [COMMANDS / "obnam", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=dict(computer.environment),
        start_new_session=True,
    )
    os.close(theirs)
    seen, left = "", list(answers)
    try:
        while select.select([ours], [], [], PATIENCE_S)[0]:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # EIO: the other end is closed
                break
            seen += piece.decode()
            # It is shown once the terminal echoes nothing any more.
            if seen.endswith(": ") and left:
                answer = left.pop(0)
                os.write(ours, answer.encode() if answer == CTRL_D else f"{answer}\n".encode())
        return process.wait(PATIENCE_S), seen.replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_invitation_and_passphrase(computer: Computer, invitation: str) -> None:
    answers = [invitation, "a slip", "another", "", "secret", "secret"]
    code, seen = typed(computer, ["init", "-"], answers)
    assert code == 0, seen
    assert "They differ.\n" in seen
    assert "It must not be empty.\n" in seen
    assert "has joined repository" in seen
    for each in (invitation, "secret\n", "slip"):
        assert each not in seen
    assert typed(computer, ["key", "add", "--label=more"], ["more", "more"])[0] == 0
    assert len(computer.obnam("key", "list").lines) == 2


@pytest.mark.parametrize("arguments", [["init", "-"], ["key", "add"]])
def test_nothing_is_typed(joined: Computer, arguments: list[str]) -> None:
    """Ctrl-D at the prompt is no traceback."""
    if arguments[0] == "init":
        joined.secrets.unlink()
    code, seen = typed(joined, arguments, [CTRL_D])
    assert "Traceback" not in seen
    assert code == 2
    assert seen.endswith(": \nobnam: nothing was typed, and the input has ended; try again\n")
