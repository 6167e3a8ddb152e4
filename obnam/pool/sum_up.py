"""Sums up a file's content on a thread, in steps after which it can be ended.

Not beside `ContentChecksum`, because workers need that, and nothing of Twisted.
"""

from collections.abc import Iterable

from obnam.pool.checksum import ContentChecksum
from obnam.pool.thread import OwnThread

SKIPPED_AT_ONCE_BYTES = 1 << 30
"""So much of a hole is summed up by one call to a thread, in some 25 ms: then it can be ended."""


async def sum_up(
    thread: OwnThread, content: ContentChecksum, pieces: Iterable[tuple[int, memoryview]]
) -> None:
    """Take pieces, each with its position, in a thread that is soon free again when cancelled."""
    together: list[tuple[int, memoryview]] = []
    reached = content.position
    for position, data in pieces:
        if position - reached > SKIPPED_AT_ONCE_BYTES:
            await thread.call(_update, content, together)
            together = []
            await sum_up_hole(thread, content, position)
        together.append((position, data))
        reached = position + len(data)
    await thread.call(_update, content, together)


async def sum_up_hole(thread: OwnThread, content: ContentChecksum, stop: int) -> None:
    """Take zeros up to ``stop``, in the same way."""
    while content.position < stop:
        step = min(stop, content.position + SKIPPED_AT_ONCE_BYTES)
        await thread.call(content.skip_to, step)


def _update(content: ContentChecksum, pieces: Iterable[tuple[int, memoryview]]) -> None:
    for position, data in pieces:
        content.update(position, data)
