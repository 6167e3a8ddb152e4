"""Ids: outside data becomes one only when it is one."""

import pytest

from obnam.model.ids import (
    parse_chunk_id,
    parse_client_name,
    parse_generation_id,
    parse_repository_name,
    parse_session_id,
)


def test_chunk_ids() -> None:
    good = b"\x01" + bytes(32)
    assert parse_chunk_id(good) == good
    for bad in (b"", good[:-1], good + b"\0", b"\0" + bytes(32), b"\x02" + bytes(32)):
        with pytest.raises(ValueError, match="chunk id"):
            parse_chunk_id(bad)


def test_generation_and_session_ids() -> None:
    good = "0123456789abcdef" * 2
    assert parse_generation_id(good) == good
    assert parse_session_id(good) == good
    for bad in ("", good[:-1], good + "0", good.upper(), good + "\n", "g" * 32, "٠" * 32):
        with pytest.raises(ValueError, match="generation id"):
            parse_generation_id(bad)
        with pytest.raises(ValueError, match="session id"):
            parse_session_id(bad)


def test_names() -> None:
    for good in ("a", "0", "laptop", "my-host.example_1", "x" * 63):
        assert parse_client_name(good) == good
        assert parse_repository_name(good) == good
    for bad in ("", ".", "..", "-a", "A", "a/b", "a b", "ä", "x" * 64, "a\n", "a\0"):
        with pytest.raises(ValueError, match="1 to 63"):
            parse_client_name(bad)
        with pytest.raises(ValueError, match="1 to 63"):
            parse_repository_name(bad)
