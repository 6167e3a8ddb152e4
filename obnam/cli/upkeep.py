"""Upkeep of a repository in a directory, at the end of a command that changed it."""

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from obnam.cli.commands import Options
from obnam.errors import EmbeddedServerFailed
from obnam.model.figures import counted, size_text
from obnam.wire.lifeline import Upkeep, UpkeepAsked

if TYPE_CHECKING:
    from obnam.repository.embedded import EmbeddedServer
    from obnam.wiring import Surroundings

SHOWN_AFTER_S = 2.0
"""Somebody who waits for longer than this is told what for."""

DAMAGED = (
    "damaged in the repository: {damaged}; run `obnam backup` again, which makes anew what is "
    "still in the files, then `obnam damage`"
)


@frozen
class Caretaker:
    """Has the server do what is due, and says what was done. ``limit_minutes`` 0: nothing."""

    options: Options
    limit_minutes: int

    async def look_after(
        self, surroundings: "Surroundings", server: "EmbeddedServer", *, at_once: bool = False
    ) -> list[str]:
        """Do it, for a limited time; the warnings that were shown.

        ``at_once``: what a round does is done now, since the disk is full.
        """
        if not self.limit_minutes:
            return []
        show = surroundings.reactor.callLater(SHOWN_AFTER_S, self._say, self._notice())
        try:
            done = await server.look_after(UpkeepAsked(self.limit_minutes * 60, at_once))
            warnings = list(_warnings(done))
        except EmbeddedServerFailed as error:
            done, warnings = Upkeep(), [f"{error.directory}: {error.problem}"]
        finally:
            if show.active():
                show.cancel()
        for warning in warnings:
            surroundings.progress.warn(warning)
        if done != Upkeep():
            self._say_done(done)
        return warnings

    def _notice(self) -> str:
        minutes = counted(self.limit_minutes, "minute")
        return f"upkeep of the repository, for {minutes} at most; Ctrl-C does no harm"

    def _say(self, line: str) -> None:
        if not self.options.quiet and not self.options.as_json:
            print(f"obnam: {line}", file=sys.stderr, flush=True)

    def _say_done(self, done: Upkeep) -> None:
        if self.options.as_json and not self.options.quiet:
            print(json.dumps({"upkeep": done.to_json()}), file=sys.stderr, flush=True)
        for line in lines(done):
            self._say(line)


def lines(done: Upkeep) -> Iterator[str]:
    """What was done, for people; nothing when nothing was."""
    parts = []
    if done.trashed:
        parts.append(f"{counted(done.trashed, 'generation')} into the trash")
    if done.expunged:
        parts.append(f"{done.expunged} out of it for good")
    if done.freed_bytes:
        parts.append(f"{size_text(done.freed_bytes)} freed")
    if done.read_bytes:
        parts.append(f"{size_text(done.read_bytes)} read again")
    if done.left_off:
        parts.append("left off, as its time was up; it goes on tomorrow")
    if parts:
        yield f"upkeep: {', '.join(parts)}"
    for remark in done.remarks:
        yield f"upkeep: {remark}"


def _warnings(done: Upkeep) -> Iterator[str]:
    for warning in done.warnings:
        yield f"upkeep: {warning}"
    if done.damaged:
        yield DAMAGED.format(damaged=counted(done.damaged, "chunk"))
