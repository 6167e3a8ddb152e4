"""The checksum of a content with holes is that of the content with zeros."""

from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred

from obnam.pool import sum_up as summing
from obnam.pool.checksum import ContentChecksum
from obnam.pool.sum_up import sum_up, sum_up_hole
from obnam.pool.thread import OwnThread

reactor: Any = global_reactor


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=100)), max_size=8),
    st.integers(0, 9),
)
def test_holes_are_zeros(parts: list[tuple[int, bytes]], tail: int) -> None:
    content, digest = bytearray(), ContentChecksum()
    for gap, data in parts:
        content += bytes(gap)
        digest.update(len(content), memoryview(data))
        content += data
    size = len(content) + tail
    assert digest.finish(size) == xxhash.xxh3_128_digest(bytes(content) + bytes(tail))


def test_huge_holes() -> None:
    digest = ContentChecksum()
    digest.update((5 << 20) + 3, memoryview(b"x"))
    expected = bytes((5 << 20) + 3) + b"x" + bytes(2 << 20)
    assert digest.finish((7 << 20) + 4) == xxhash.xxh3_128_digest(expected)


def test_nothing() -> None:
    assert ContentChecksum().finish(0) == xxhash.xxh3_128_digest(b"")


@ensureDeferred
async def test_a_huge_hole_is_summed_up_bit_by_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cancels it need not wait until all of it is done: hours, if it is large enough."""
    monkeypatch.setattr(summing, "SKIPPED_AT_ONCE_BYTES", 1 << 20)
    pieces = [(5, b"first"), (10, b"second"), (3 << 20, b"third"), ((3 << 20) + 9, b"fourth")]
    expected = bytearray((3 << 20) + 9)
    for position, data in pieces:
        expected[position : position + len(data)] = data
    expected += bytes(4 << 20)
    thread, calls = OwnThread(reactor, "checksums"), 0
    call = thread.call

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return call(*arguments)

    monkeypatch.setattr(thread, "call", counted)
    content = ContentChecksum()
    try:
        await sum_up(thread, content, [(at, memoryview(data)) for at, data in pieces])
        assert calls == 1 + 3 + 1
        await sum_up_hole(thread, content, len(expected))
        assert calls == 5 + 4
    finally:
        thread.close()
    assert content.finish(len(expected)) == xxhash.xxh3_128_digest(bytes(expected))


@ensureDeferred
async def test_the_rest_of_a_hole_is_left_when_it_is_cancelled() -> None:
    thread, content = OwnThread(reactor, "checksums"), ContentChecksum()
    running = Deferred.fromCoroutine(sum_up_hole(thread, content, 1 << 60))
    running.cancel()
    with pytest.raises(CancelledError):
        await running
    thread.close()
    assert content.position <= summing.SKIPPED_AT_ONCE_BYTES
