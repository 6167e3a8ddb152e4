"""Endpoint strings, and the backlog that they get."""

import pytest

from obnam_server.ports import BACKLOG, with_backlog


@pytest.mark.parametrize(
    "text", ["tcp:8443", "tcp:8443:interface=127.0.0.1", r"tcp6:8443:interface=\:\:1", "unix:/a"]
)
def test_more_than_a_few_may_come_at_once(text: str) -> None:
    assert with_backlog(text) == f"{text}:backlog={BACKLOG}"


@pytest.mark.parametrize(
    "text", ["tcp:8443:backlog=5", "systemd:domain=INET6:index=0", "fd:3", "tcp", ""]
)
def test_others_stay_as_they_are(text: str) -> None:
    assert with_backlog(text) == text
