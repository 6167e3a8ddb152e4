"""Partial generations on the way, and what a backup that was cut off leaves for the next."""

import hashlib
import os
from collections.abc import Iterator

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam.errors import GenerationKept, ServerUnreachable
from obnam.live.scan import CACHE_TAG_SIGNATURE
from obnam.model.entry import Reason
from obnam.model.ids import GenerationId
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
FILES = 30


def content(number: int) -> bytes:
    return hashlib.shake_128(b"%d" % number).digest(700_000)


@pytest.fixture
def busy(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """A computer with so much to do that each upload takes a second, on a clock that is its own."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    monkeypatch.setattr("obnam.backup.pipeline.LANES", 3)  # a checkpoint waits for them all
    for number in range(FILES):
        (laptop.root / f"{number:02}").write_bytes(content(number))
    for number in range(100):
        (laptop.root / f"small {number:02}").write_bytes(b"%d" % number)
    laptop.repository.before_store = lambda: laptop.clock.advance(1)
    laptop.checkpoint_s = 4
    return laptop


def cut_off(laptop: Laptop, after: int) -> None:
    """Let the server disappear after so many uploads."""
    left = iter(range(after))

    def store() -> None:
        laptop.clock.advance(1)
        if next(left, None) is None:
            raise ServerUnreachable("memory", "gone")

    laptop.repository.before_store = store


async def check_all(laptop: Laptop, entries: object) -> None:
    assert isinstance(entries, dict)
    assert len(entries) == FILES + 101
    for number in range(FILES):
        assert entries[f"{number:02}"].content == content(number)
    for number in range(100):
        assert entries[f"small {number:02}"].content == b"%d" % number


@ensure
async def test_checkpoints_are_partial_and_the_last_is_whole(busy: Laptop) -> None:
    last = await busy.back_up()

    commits = list(busy.repository.commits)
    assert len(commits) >= 3
    assert [commit.partial for commit in commits] == [True] * (len(commits) - 1) + [False]
    await check_all(busy, await busy.below(last))
    stored = 0
    for sequence, commit in enumerate(commits, 1):
        entries = await busy.below(commit.generation)  # each is sound in itself
        now = sum(entry.content is not None for entry in entries.values())
        assert now > stored or not commit.partial
        stored = now
        manifest = (await busy.generations().get(commit.generation)).manifest
        assert (manifest.sequence, manifest.partial) == (sequence, commit.partial)
        previous = manifest.previous and manifest.previous.generation
        assert previous == (commits[sequence - 2].generation if sequence > 1 else None)
    sent = list(busy.repository.stored)
    assert len(sent) == len(set(sent))


@ensure
async def test_a_server_that_has_nothing_is_not_asked_before_the_first_checkpoint(
    busy: Laptop,
) -> None:
    known_at_commits: list[tuple[int, int]] = []

    def note() -> None:
        known_at_commits.append((len(busy.repository.asked), len(busy.repository.stored)))

    busy.repository.before_commit = note
    await busy.back_up()

    assert known_at_commits[0][0] == 0 < known_at_commits[0][1]
    assert known_at_commits[-1][0] > 0
    asked = busy.repository.asked
    assert not set(asked) & set(busy.repository.stored[: known_at_commits[0][1]])


@ensure
async def test_what_is_sent_unasked_is_sent_once(laptop: Laptop) -> None:
    content = noise("twice", 3 << 20)
    for number in range(40):
        (laptop.root / f"{number:02}").write_bytes(content)
    await laptop.back_up()

    assert laptop.repository.asked == []
    stored = laptop.repository.stored
    assert len(stored) == len(set(stored)) == len(laptop.server.chunks)


@ensure
async def test_a_first_backup_that_is_begun_again_asks(busy: Laptop) -> None:
    busy.checkpoint_s = 1e9
    cut_off(busy, after=9)
    with pytest.raises(ServerUnreachable):
        await busy.back_up()
    assert busy.repository.asked == []
    before = set(busy.repository.stored[:-1])

    busy.repository.before_store = lambda: None
    busy.repository.stored.clear()
    await busy.back_up()
    assert before <= set(busy.repository.asked)
    assert not before & set(busy.repository.stored)


@ensure
async def test_each_file_is_new_in_the_generation_it_comes_into(busy: Laptop) -> None:
    await busy.back_up()

    known: set[str] = set()
    for commit in busy.repository.commits:
        reasons = await busy.reasons(commit.generation)
        assert {n for n, reason in reasons.items() if reason == Reason.UNCHANGED} == known
        assert {reasons[name] for name in reasons.keys() - known} <= {Reason.NEW}
        known = set(reasons)


@ensure
async def test_a_backup_that_was_cut_off_goes_on(busy: Laptop) -> None:
    cut_off(busy, after=9)
    with pytest.raises(ServerUnreachable):
        await busy.back_up()
    partial = [commit.generation for commit in busy.repository.commits]
    assert partial
    before = set(busy.server.chunks)
    in_partial = sum(e.content is not None for e in (await busy.below(partial[-1])).values())
    assert in_partial

    busy.repository.before_store = lambda: None
    last = await busy.back_up()

    assert not before.intersection(busy.repository.stored)
    assert busy.results[-1].sent.files == FILES + 100 - in_partial
    await check_all(busy, await busy.below(last))
    manifest = (await busy.generations().get(last)).manifest
    assert manifest.previous is not None
    assert manifest.previous.generation == partial[-1]


@ensure
async def test_a_process_that_was_killed(busy: Laptop) -> None:
    """Nothing is tidied up: a session stays open, and files in the cache directory."""
    cut_off(busy, after=9)
    with pytest.raises(ServerUnreachable):
        await busy.backup().run()
    left = busy.cache / f"{'0' * 16}.new"
    left.write_bytes(b"half a database")
    before = set(busy.server.chunks)
    busy.repository.before_store = lambda: None
    busy.repository.stored.clear()

    result = await busy.backup().run()

    assert result.generation is not None
    await check_all(busy, await busy.below(result.generation))
    assert not before.intersection(busy.repository.stored)
    assert left.exists()  # a day later it goes


@ensure
async def test_checkpoints_of_an_incremental(busy: Laptop) -> None:
    busy.checkpoint_s = 1e9
    await busy.back_up()
    changed = range(0, FILES, 2)
    for number in changed:
        (busy.root / f"{number:02}").write_bytes(content(number + 1000))
    for number in range(50):
        (busy.root / f"small {number:02}").unlink()
    busy.checkpoint_s = 2

    last = await busy.back_up()

    assert len(busy.repository.commits) >= 3
    entries = await busy.below(last)
    assert len(entries) == FILES + 51
    for number in range(FILES):
        expected = number + 1000 if number in changed else number
        assert entries[f"{number:02}"].content == content(expected)
    for commit in busy.repository.commits:
        await busy.below(commit.generation)


@ensure
async def test_checkpoints_and_what_was_before_them_can_be_forgotten(busy: Laptop) -> None:
    """But for the newest, and the newest complete one: the next backup goes on from there."""
    busy.checkpoint_s = 1e9
    complete = await busy.back_up()
    for number in range(FILES):
        (busy.root / f"{number:02}").write_bytes(content(number + 1000))
    busy.checkpoint_s = 2
    partial = []
    for _ in range(2):
        cut_off(busy, after=9)
        with pytest.raises(ServerUnreachable):
            await busy.back_up()
        partial += [commit.generation for commit in busy.repository.commits]
    assert len(partial) >= 2

    async def forget(*generations: GenerationId) -> None:
        for generation in generations:
            await busy.repository.delete_generation(generation)
            busy.server.expunge(generation)

    for generation in (complete, partial[-1]):
        with pytest.raises(GenerationKept):
            await forget(generation)
    await forget(*partial[:-1])
    before = set(busy.server.chunks)
    busy.repository.before_store = lambda: None
    last = await busy.back_up()
    assert not before.intersection(busy.repository.stored)
    await forget(complete, partial[-1])
    for generation in (last, await busy.back_up()):
        entries = await busy.below(generation)
        assert all(entries[f"{n:02}"].content == content(n + 1000) for n in range(FILES))
    assert busy.warnings == []


@ensure
async def test_hard_links_over_checkpoints(busy: Laptop) -> None:
    for number in range(0, FILES, 3):
        (busy.root / f"{number:02} link").hardlink_to(busy.root / f"{number:02}")
    cut_off(busy, after=9)
    with pytest.raises(ServerUnreachable):
        await busy.back_up()
    busy.repository.before_store = lambda: busy.clock.advance(1)

    entries = await busy.below(await busy.back_up())

    for number in range(0, FILES, 3):
        assert entries[f"{number:02} link"].content == content(number)


@ensure
async def test_a_tag_behind_a_checkpoint_is_no_new_one(busy: Laptop) -> None:
    (busy.root / "z").mkdir()
    (busy.root / "z" / "CACHEDIR.TAG").write_bytes(CACHE_TAG_SIGNATURE)
    cut_off(busy, after=9)
    with pytest.raises(ServerUnreachable):
        await busy.back_up()
    assert busy.repository.commits
    busy.repository.before_store = lambda: None
    await busy.back_up()
    assert busy.warnings == []


@ensure
async def test_a_huge_file_over_a_checkpoint(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint waits until a file that was begun is read to its end."""
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    data = os.urandom(12 << 20)
    (laptop.root / "a").write_bytes(data)
    (laptop.root / "b").write_bytes(b"small")
    laptop.repository.before_store = lambda: laptop.clock.advance(1)
    laptop.checkpoint_s = 2
    entries = await laptop.below(await laptop.back_up())
    assert (entries["a"].content, entries["b"].content) == (data, b"small")
    assert {entry.reason for entry in entries.values()} <= {Reason.NEW, Reason.UNCHANGED}


HOUR_NS = 3_600_000_000_000


@ensure
@pytest.mark.parametrize("times", [1, 3])
async def test_what_changed_while_an_earlier_one_ran_is_looked_at_behind_checkpoints(
    busy: Laptop, times: int
) -> None:
    """A backup that is cut off does not look at all that the one before it left to look at."""
    busy.checkpoint_s = 1e9
    last = busy.root / "z" / "file"
    last.parent.mkdir()
    last.write_bytes(b"written again in the tick in which it is read")
    busy.now_ns = last.stat().st_ctime_ns
    await busy.back_up()
    busy.checkpoint_s = 2
    for attempt in range(1, times + 1):
        busy.now_ns += HOUR_NS
        for number in range(FILES):
            (busy.root / f"{number:02}").write_bytes(content(1000 * attempt + number))
        cut_off(busy, after=9)
        with pytest.raises(ServerUnreachable):
            await busy.back_up()
        assert busy.repository.commits
    busy.repository.before_store = lambda: None

    busy.now_ns += HOUR_NS
    reasons = await busy.reasons(await busy.back_up())
    assert reasons["z/file"] is Reason.CHANGED
    busy.now_ns += HOUR_NS
    reasons = await busy.reasons(await busy.back_up())
    assert reasons["z/file"] is Reason.UNCHANGED


@pytest.fixture(autouse=True)
def _clock_stands(laptop: Laptop) -> Iterator[None]:
    yield
    assert laptop.clock.getDelayedCalls() == []


@ensure
@pytest.mark.parametrize("after", range(2, 12))
async def test_wherever_it_is_cut_off_no_file_is_left(busy: Laptop, after: int) -> None:
    cut_off(busy, after)
    with pytest.raises(ServerUnreachable):
        await busy.back_up()
    assert list(busy.cache.glob("*.new")) == []
