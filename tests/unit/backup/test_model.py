"""Any trees that change in any way: each generation is what was there when it was made."""

import tempfile
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import define, field
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from obnam.model.entry import Reason
from obnam.model.ids import GenerationId
from tests.support.reading_back import ReadBack
from tests.unit.backup.laptop import Laptop, laptop_at
from tests.unit.backup.trees import Changer, Seen, as_seen, look_at

ensure = pytest_twisted.ensureDeferred


@define
class History:
    """What was backed up, and what was there at that time."""

    laptop: Laptop
    made: list[tuple[GenerationId, dict[bytes, Seen]]] = field(factory=list)

    async def back_up(self, *, full: bool, checkpoint_s: float) -> None:
        """Make one more generation, and compare its reasons with what is different."""
        before = self.made[-1][1] if self.made else {}
        now = look_at(self.laptop.root)
        self.laptop.checkpoint_s = checkpoint_s
        generation = await self.laptop.back_up(full=full)
        self.made.append((generation, now))
        assert [each for each in self.laptop.warnings if "CACHEDIR.TAG" not in each] == []
        entries = await self.laptop.read(generation)
        if len(self.laptop.repository.commits) == 1:
            self._check_reasons(entries, before, now)

    def _check_reasons(
        self, entries: dict[bytes, ReadBack], before: dict[bytes, Seen], now: dict[bytes, Seen]
    ) -> None:
        for path, entry in entries.items():
            if entry.reason is Reason.UNCHANGED:
                assert now[path] == before[path]
            elif path not in before:
                assert entry.reason in (Reason.NEW, Reason.SKIPPED)

    async def check(self) -> None:
        """Read all generations again; without a cache, every other time."""
        for generation, seen in self.made:
            assert as_seen(await self.laptop.read(generation)) == seen
            for path in list(self.laptop.cache.glob("*.[ns]*"))[::2]:
                path.unlink()


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.data())
@ensure
async def test_every_generation_is_what_was_there(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        # Small, so that there are files larger than it.
        patch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
        with laptop_at(Path(name)) as laptop:
            laptop.repository.before_store = lambda: laptop.clock.advance(1)
            changer, history = Changer(laptop.root, data), History(laptop)
            for _ in range(data.draw(st.integers(2, 4))):
                for _ in range(data.draw(st.integers(1, 14))):
                    changer.change()
                note(str(changer.done))
                await history.back_up(
                    full=data.draw(st.sampled_from([False, False, False, True])),
                    checkpoint_s=data.draw(st.sampled_from([1e9, 1e9, 2])),
                )
            await history.check()
