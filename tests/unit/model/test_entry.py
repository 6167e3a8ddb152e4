"""Entries: kinds, reasons, and names that are safe to print."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.model.entry import Kind, Reason, is_entry_name, kind_of, printable


def test_numbers_are_those_of_the_schema() -> None:
    assert [(kind.value, kind.letter) for kind in Kind] == list(enumerate("fdlpscb", start=1))
    assert [(reason.value, reason.word) for reason in Reason] == [
        (1, "new"),
        (2, "changed"),
        (3, "unchanged"),
        (4, "error"),
        (5, "skipped"),
    ]


def test_kinds_of_real_files(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    found = {path.name: kind_of(path.lstat().st_mode) for path in tmp_path.iterdir()}
    assert found == {
        "file": Kind.FILE,
        "link": Kind.SYMLINK,
        "fifo": Kind.FIFO,
        "socket": Kind.SOCKET,
    }
    assert kind_of(tmp_path.stat().st_mode) is Kind.DIRECTORY
    assert kind_of(Path("/dev/null").stat().st_mode) is Kind.CHARACTER_DEVICE
    assert kind_of(0o060660) is Kind.BLOCK_DEVICE


@pytest.mark.parametrize("mode", [0, 0o777, 0o170000])
def test_a_mode_without_a_kind_is_refused(mode: int) -> None:
    with pytest.raises(ValueError, match="no kind"):
        kind_of(mode)


@pytest.mark.parametrize("name", [b"a", b"...", b".a", b" ", b"\xff\n", b"\\", b"-", b"0"])
def test_names_of_entries(name: bytes) -> None:
    assert is_entry_name(name)


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"/", b"a/b", b"/a", b"../a", b"a/", b"\0", b"a\0", b"\0a", b"./"]
)
def test_what_is_no_name_of_an_entry(name: bytes) -> None:
    assert not is_entry_name(name)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name.txt", "plain name.txt"),
        ("ä漢".encode(), "ä漢"),
        (b"back\\slash", "back\\\\slash"),
        (b"line\nbreak", "line\\nbreak"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        (b"not\xffutf8", "not\\xffutf8"),
        ("right\u202eleft".encode(), "right\\u202eleft"),
    ],
)
def test_printable(name: bytes, shown: str) -> None:
    assert printable(name) == shown


@given(st.binary(max_size=30))
def test_what_is_printed_is_printable_text(name: bytes) -> None:
    shown = printable(name)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_different_names_are_shown_differently(one: bytes, two: bytes) -> None:
    assert (printable(one) == printable(two)) == (one == two)
