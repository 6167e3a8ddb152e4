"""One request: what becomes of it when nobody wants its answer any more."""

from typing import Any, cast

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.task import Clock

from obnam.errors import ServerUnreachable
from obnam.repository.answers import Asked
from obnam.repository.exchange import Exchange


class LooksUpANameOnly:
    """An HTTP client that never gets further."""

    def request(self, *_: object, **__: object) -> "Deferred[Any]":
        return Deferred(lambda d: d.errback(DNSLookupError("no such name")))


def asked(clock: Clock) -> "Deferred[Any]":
    http = cast(Any, LooksUpANameOnly())
    exchange = Exchange(http, clock, "https://server", silence_s=60.0)
    return Deferred.fromCoroutine(exchange.json("GET", "/", Asked("it")))


def test_cancelled_while_a_name_is_looked_up() -> None:
    pending = asked(Clock())
    pending.cancel()
    caught: list[Any] = []
    pending.addErrback(caught.append)
    assert caught[0].check(CancelledError)


def test_silence_is_no_such_thing() -> None:
    clock = Clock()
    pending = asked(clock)
    caught: list[Any] = []
    pending.addErrback(caught.append)
    clock.advance(60.0)
    assert caught[0].check(ServerUnreachable)
    assert caught[0].value.silent_s == pytest.approx(60.0)
