"""Invitations and tokens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import BadInvitation, ConfigurationError
from obnam.repository.enrol import Invitation, new_token, parse_invitation
from obnam.repository.tls import Pin, format_pin, parse_pin

CODE = "abcdefghijklmnopqrstuvwxyz_-0123"
PIN = Pin(bytes(range(32)))


def test_with_and_without_a_pin() -> None:
    assert parse_invitation(f"https://backup.example.org:8443/#{CODE}.{format_pin(PIN)}") == (
        Invitation("https://backup.example.org:8443", CODE, PIN)
    )
    assert parse_invitation(f"  https://[::1]:8443/#{CODE}\n") == (
        Invitation("https://[::1]:8443", CODE, None)
    )


@given(st.binary(min_size=32, max_size=32))
def test_pins_as_text(pin: bytes) -> None:
    assert parse_pin(format_pin(Pin(pin))) == pin
    assert len(format_pin(Pin(pin))) == 43


@pytest.mark.parametrize(
    "line",
    [
        "", "junk", f"#{CODE}", "https://host:1/", "https://host:1/#", "https://host:1/#short",
        f"https://host:1/#{CODE}.", f"https://host:1/#{CODE}.short", f"https://host:1/#{CODE}é",
        f"https://host:1/#{CODE}.{format_pin(PIN)}A", f"https://host:1/#{CODE} {CODE}",
        f"https://host:1/#{CODE * 100}", f"https://[::1/#{CODE}",
    ],
    ids=range(13),
)  # fmt: skip
def test_no_invitations(line: str) -> None:
    with pytest.raises((BadInvitation, ConfigurationError)) as caught:
        parse_invitation(line)
    assert CODE not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://host:1/", "ftp://host:1/", "https:///", "https://user@host:1/",
        "https://user:word@host:1/", "https://host:1/path", "https://host:1/?query",
        "https://host:0/", "https://host:99999/", "https://hôst:1/",
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_invitation(f"{url}#{CODE}")


def test_http_is_refused_with_its_reason() -> None:
    with pytest.raises(ConfigurationError, match="https: instead of http:"):
        parse_invitation(f"http://host:1/#{CODE}")


def test_tokens() -> None:
    token = new_token(lambda size: bytes(range(size)))
    assert token == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


def test_the_code_is_not_shown() -> None:
    assert CODE not in repr(Invitation("https://host", CODE, None))
