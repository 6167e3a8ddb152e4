"""What is said between a client and the server that it started."""

import json
from typing import Any

import pytest

from obnam.wire.lifeline import (
    LINE_CHARACTERS_MAX,
    LINE_MAX,
    LINES_MAX,
    UPKEEP_S_MAX,
    Upkeep,
    UpkeepAsked,
)
from obnam.wire.members import BadMessage

DONE = Upkeep(1, 2, 3, 4, 5, True, ("one", "two"), ("three",))


@pytest.mark.parametrize("asked", [UpkeepAsked(0), UpkeepAsked(UPKEEP_S_MAX, at_once=True)])
def test_what_is_asked(asked: UpkeepAsked) -> None:
    line = asked.to_line()
    assert line.index(b"\n") == len(line) - 1
    assert UpkeepAsked.from_line(line[:-1]) == asked


@pytest.mark.parametrize("done", [Upkeep(), DONE])
def test_what_is_answered(done: Upkeep) -> None:
    line = done.to_line()
    assert line.index(b"\n") == len(line) - 1
    assert Upkeep.from_line(line[:-1]) == done


def test_the_longest_answer() -> None:
    """Whatever there is to say, it is one line that can be sent at once."""
    many = ("\U0001f4a5" * 2000,) * 100
    line = Upkeep(2**62, 2**62, 2**62, 2**62, 2**62, True, many, many).to_line()
    assert len(line) < LINE_MAX
    found = Upkeep.from_line(line)
    assert found.warnings == (many[0][:LINE_CHARACTERS_MAX],) * LINES_MAX


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"upkeep",
        b"[" * 100_000,
        b"{}",
        b'{"limit_s": 1}',
        b'{"limit_s": -1, "at_once": false}',
        b'{"limit_s": 100000, "at_once": false}',
        b'{"limit_s": 1, "at_once": 1}',
    ],
)
def test_what_is_no_question(line: bytes) -> None:
    with pytest.raises(BadMessage):
        UpkeepAsked.from_line(line)


@pytest.mark.parametrize(
    "wrong",
    [
        {"trashed": -1},
        {"read_bytes": "1"},
        {"left_off": None},
        {"warnings": "one"},
        {"warnings": [1]},
        {"warnings": ["x"] * (LINES_MAX + 1)},
        {"remarks": ["x" * (LINE_CHARACTERS_MAX + 1)]},
    ],
)
def test_what_is_no_answer(wrong: dict[str, Any]) -> None:
    document = {**DONE.to_json(), **wrong}
    with pytest.raises(BadMessage):
        Upkeep.from_line(json.dumps(document).encode())
