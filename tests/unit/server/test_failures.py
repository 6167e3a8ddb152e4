"""Whoever fails to authenticate too often has to wait, and nobody else does."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.sharing.failures import (
    DEBT_MAX,
    FAILURES_AT_ONCE,
    KNOWN_MAX,
    SECONDS_PER_FAILURE,
    SOURCES_MAX,
    Failures,
    KnownTokens,
)
from obnam_server.sharing.sources import source_of
from tests.support.raw_backup import problem
from tests.support.server_in_memory import HOUR_NS, RawAnswer, ServerInMemory, Wire

HERE, THERE = "192.0.2.1", "192.0.2.2"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        (IPv4Address("TCP", HERE, 1), HERE),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:2::1", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:3::1", 1), "2001:db8:1:3::/64"),
        (IPv6Address("TCP", f"::ffff:{HERE}", 1), HERE),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
        (UNIXAddress(b"/run/obnam/socket"), None),
    ],
)
def test_source(address: IAddress, source: str | None) -> None:
    assert source_of(address) == source


def test_so_many_at_once_and_then_one_by_one() -> None:
    clock = Clock()
    failures = Failures(clock.seconds)
    waits = []
    for _ in range(FAILURES_AT_ONCE + 2):
        waits.append(failures.wait_s(HERE))
        failures.failed(HERE)
    assert waits == [0.0] * FAILURES_AT_ONCE + [SECONDS_PER_FAILURE, 2 * SECONDS_PER_FAILURE]
    assert failures.wait_s(HERE) == 3 * SECONDS_PER_FAILURE
    assert failures.wait_s(THERE) == 0
    clock.advance(3 * SECONDS_PER_FAILURE)
    assert failures.wait_s(HERE) == 0
    failures.failed(HERE)
    assert failures.wait_s(HERE) == SECONDS_PER_FAILURE
    clock.advance(1000)
    assert failures.wait_s(HERE) == 0


def test_a_unix_socket_never_waits() -> None:
    failures = Failures(Clock().seconds)
    for _ in range(100):
        failures.failed(None)
    assert (failures.wait_s(None), len(failures)) == (0.0, 0)


def test_memory_is_bounded() -> None:
    failures, known = Failures(Clock().seconds), KnownTokens()
    for number in range(SOURCES_MAX + 5):
        failures.failed(f"source {number}")
    for number in range(KNOWN_MAX + 5):
        known.was_good(f"token {number}")
    assert (len(failures), len(known)) == (SOURCES_MAX, KNOWN_MAX)
    assert "token 4" not in known
    assert "token 5" in known


@given(st.lists(st.floats(0, 100), max_size=100))
def test_never_more_than_the_rate(pauses: list[float]) -> None:
    """However failures are spread: those looked at are not more than burst and rate allow."""
    clock = Clock()
    failures = Failures(clock.seconds)
    looked_at = 0
    for pause in pauses:
        clock.advance(pause)
        wait_s = failures.wait_s(HERE)
        assert 0 <= wait_s <= (DEBT_MAX - FAILURES_AT_ONCE + 1) * SECONDS_PER_FAILURE
        if not wait_s:
            looked_at += 1
            failures.failed(HERE)
    assert looked_at <= FAILURES_AT_ONCE + clock.seconds() / SECONDS_PER_FAILURE


def ask(wire: Wire, token: str) -> RawAnswer:
    return wire.request("GET", "/v1/repository", token=token)


def use_code(wire: Wire, code: str) -> RawAnswer:
    body = json.dumps({"code": code, "token_sha256": "00" * 32}).encode()
    return wire.request("POST", "/v1/enrolment", body)


@pytest.mark.parametrize("fail", [ask, use_code])
def test_nothing_is_looked_at_after_too_many(
    server: ServerInMemory, fail: Callable[[Wire, str], RawAnswer]
) -> None:
    for _ in range(FAILURES_AT_ONCE):
        assert problem(fail(server.connect(), "wrong-wrong-wrong-wrong")) == "unauthenticated"
    good = server.token("laptop")
    wire = server.connect()
    wire.channel.dataReceived(wire.head("GET", "/v1/repository", token=good))
    assert not server.work._queue  # nobody looked anything up
    answer = wire.answer()
    assert (answer.status, problem(answer)) == (429, "too-many-failures")
    assert answer.headers["retry-after"] == "10"
    assert problem(use_code(server.connect(), "any-code-any-code-any")) == "too-many-failures"
    assert server.connect().request("GET", "/health").status == 200
    assert ask(server.connect("192.0.2.9"), good).status == 200
    assert ask(server.connect("2001:db8::1"), good).status == 200
    server.advance(SECONDS_PER_FAILURE)
    assert ask(server.connect(), good).status == 200


def test_who_was_good_does_not_wait_for_the_failures_of_others(server: ServerInMemory) -> None:
    """Until his token is revoked: then it is wrong like any other."""
    good = server.token("laptop")
    assert ask(server.connect(), good).status == 200
    for _ in range(FAILURES_AT_ONCE):
        ask(server.connect(), "wrong")
    assert ask(server.connect(), "wrong").status == 429
    assert ask(server.connect(), good).status == 200
    server.store.clients.revoke(ClientName("laptop"))
    assert ask(server.connect(), good).status == 401
    assert ask(server.connect(), good).status == 429


def test_a_good_token_fails_nothing(server: ServerInMemory) -> None:
    """Lacking a scope is no failure to authenticate."""
    reader = server.token("reader", scopes=("restore",))
    wires = [server.connect() for _ in range(3 * FAILURES_AT_ONCE)]
    for wire in wires:
        assert wire.request("POST", "/v1/sessions", b"{}", token=reader).status == 403
    assert ask(server.connect(), reader).status == 200


def test_a_unix_socket_is_not_limited(server: ServerInMemory) -> None:
    wires = [server.connect("") for _ in range(3 * FAILURES_AT_ONCE)]
    assert {ask(wire, "wrong").status for wire in wires} == {401}


def test_a_used_code_is_a_failure(server: ServerInMemory) -> None:
    code = server.store.clients.invite(
        ClientName("laptop"), RepositoryName("home"), ("backup",), 2 * HOUR_NS
    )
    server.store.clients.enrol(code, "11" * 32)
    for _ in range(FAILURES_AT_ONCE):
        assert problem(use_code(server.connect(), code)) == "unauthenticated"
    assert problem(use_code(server.connect(), code)) == "too-many-failures"
