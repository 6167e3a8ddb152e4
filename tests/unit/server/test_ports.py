"""Endpoint strings, and the backlog that they get."""

from typing import Any

import pytest
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock

from obnam_server.ports import BACKLOG, CannotListen, listen_on, with_backlog


@pytest.mark.parametrize(
    "text", ["tcp:8443", "tcp:8443:interface=127.0.0.1", r"tcp6:8443:interface=\:\:1", "unix:/a"]
)
def test_more_than_a_few_may_come_at_once(text: str) -> None:
    assert with_backlog(text) == f"{text}:backlog={BACKLOG}"


@pytest.mark.parametrize("text", ["tcp:0:colour=red", "tcp:0:interface=127.0.0.1:"])
def test_options_that_no_endpoint_has(text: str) -> None:
    reactor: Any = MemoryReactorClock()  # type: ignore[no-untyped-call]
    with pytest.raises(CannotListen, match="has an option that is unknown, or given twice"):
        listen_on(reactor, text, Factory())


@pytest.mark.parametrize(
    "text", ["tcp:8443:backlog=5", "systemd:domain=INET6:index=0", "fd:3", "tcp", ""]
)
def test_others_stay_as_they_are(text: str) -> None:
    assert with_backlog(text) == text
