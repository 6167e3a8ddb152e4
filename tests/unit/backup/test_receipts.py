"""Backups, and the receipts that a server signs for them, or does not."""

from collections.abc import Callable

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from attrs import evolve
from nacl.signing import SigningKey

from obnam.browse import accepting, catalogue, standing
from obnam.errors import UsageError
from obnam.history_errors import (
    BadReceipt,
    HistoryBroken,
    ServerForked,
    ServerKeyChanged,
    ServerRolledBack,
)
from obnam.model.ids import ClientName
from obnam.repository import state
from obnam.repository.deferring import returns_deferred
from obnam.wire.messages import Receipt, RepositoryDescription
from tests.support.memory_repository import MemoryRepository, MemoryServer, rolled_back
from tests.unit.backup.laptop import Laptop
from tests.unit.pool.bench import noise

ensure = pytest_twisted.ensureDeferred
LAPTOP = ClientName("laptop")


def remembered(laptop: Laptop) -> state.Remembered:
    return state.load(laptop.home / "state.json")


def key_of(server: MemoryServer) -> bytes:
    return bytes(server.signing_key.verify_key)


async def describe(laptop: Laptop) -> standing.Standing:
    return await standing.ask("memory", laptop.repository, laptop.generations(), 5)


def answering(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, change: Callable[[Receipt], Receipt]
) -> None:
    """Let the server sign another receipt than it should."""
    right = laptop.server.countersigned
    monkeypatch.setattr(
        MemoryServer, "countersigned", lambda _, *arguments: change(right(*arguments))
    )


@ensure
async def test_the_newest_receipt_is_kept(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    first = remembered(laptop).receipts[LAPTOP]
    generation = await laptop.back_up()
    proof = remembered(laptop).receipts[LAPTOP]
    assert proof.holds()
    assert proof.server_key == key_of(laptop.server)
    said = proof.statement
    assert (said.generation, said.sequence, said.client) == (generation, 2, "laptop")
    assert said.previous == first.statement.hash()
    opened = await laptop.generations().get(generation)
    assert said.manifest_id == opened.manifest_id
    assert laptop.warnings == []


@ensure
async def test_checkpoints_have_receipts_too(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("obnam.backup.run.PLAINTEXT_SLAB_BYTES", 2 << 20)
    monkeypatch.setattr("obnam.backup.uploads.ENOUGH_BYTES", 1)  # each batch by itself
    for number in range(12):
        (laptop.root / f"file {number}").write_bytes(noise(number, 700_000))
    laptop.repository.before_store = lambda: laptop.clock.advance(1)
    laptop.checkpoint_s = 2
    await laptop.back_up()
    said = remembered(laptop).receipts[LAPTOP].statement
    assert said.sequence == len(laptop.server.generations) > 1


@ensure
@pytest.mark.parametrize(
    "change",
    [
        lambda r: evolve(r, countersigned=None),
        lambda r: evolve(r, countersigned=evolve(r.countersigned, signature=bytes(64))),
        lambda r: evolve(r, countersigned=evolve(r.countersigned, previous=b"x" * 32)),
        lambda r: evolve(r, sequence=r.sequence + 1),
        lambda r: evolve(r, received_ns=r.received_ns + 1),
    ],
    ids=["missing", "signature", "previous", "sequence", "time"],
)
async def test_a_bad_receipt_is_no_good_backup(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, change: Callable[[Receipt], Receipt]
) -> None:
    """It failed, and says that the commit stands: which the next backup goes on from."""
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    with monkeypatch.context() as patched:
        answering(laptop, patched, change)
        with pytest.raises(BadReceipt, match="is committed, but the server did not sign") as caught:
            await laptop.back_up()
    assert list(laptop.cache.glob("*.new")) == []
    newest = laptop.server.latest_of(LAPTOP)
    assert newest is not None
    assert caught.value.generation == newest.summary.receipt.generation
    assert remembered(laptop).newest[LAPTOP].generation == caught.value.generation
    assert remembered(laptop).receipts[LAPTOP].statement.sequence == 1


@ensure
async def test_a_receipt_that_was_lost_on_the_way(laptop: Laptop) -> None:
    """The client died before it had the answer: the next look brings it."""
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    before = (laptop.home / "state.json").read_bytes()
    generation = await laptop.back_up()
    (laptop.home / "state.json").write_bytes(before)
    await catalogue.fetch(laptop.repository, laptop.generations())
    assert remembered(laptop).receipts[LAPTOP].statement.generation == generation


@ensure
async def test_an_older_server_has_no_key(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backups go on without receipts; and with them, from the day on that it is updated."""
    (laptop.root / "file").write_bytes(b"content")
    with monkeypatch.context() as patched:
        old_description(patched)
        answering(laptop, patched, lambda r: evolve(r, countersigned=None))
        await laptop.back_up()
        assert remembered(laptop).server_key is None
        assert remembered(laptop).receipts == {}
    await laptop.back_up()
    assert remembered(laptop).server_key == key_of(laptop.server)
    assert remembered(laptop).receipts[LAPTOP].statement.sequence == 2
    with monkeypatch.context() as patched:
        old_description(patched)
        with pytest.raises(ServerKeyChanged, match="shows none"):
            await laptop.back_up()


def old_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server say nothing of a key."""
    right = MemoryRepository.describe

    @returns_deferred
    async def describe(repository: MemoryRepository) -> RepositoryDescription:
        return evolve(await right(repository), repository_id=None, server_key=None, newest=None)

    monkeypatch.setattr(MemoryRepository, "describe", describe)


@ensure
async def test_another_key_is_another_server(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    old = key_of(laptop.server)
    laptop.server.signing_key = SigningKey(b"y" * 32)
    new = key_of(laptop.server)
    with pytest.raises(ServerKeyChanged) as caught:
        await laptop.back_up()
    assert str(caught.value).startswith(f"the server's key was {old.hex()}, and now it is ")
    assert str(caught.value).endswith(f"say: obnam accept-server {new.hex()}")
    with pytest.raises(ServerKeyChanged):
        await catalogue.fetch(laptop.repository, laptop.generations())
    with pytest.raises(ServerKeyChanged):
        await accepting.accept_history(laptop.repository, laptop.generations(), 5)
    assert (await describe(laptop)).problems == [str(caught.value)]
    with pytest.raises(UsageError, match=new.hex()):
        await accepting.accept_server(laptop.repository, laptop.generations(), old)

    await accepting.accept_server(laptop.repository, laptop.generations(), new)

    await laptop.back_up()
    await laptop.back_up()
    await catalogue.fetch(laptop.repository, laptop.generations())
    proof = remembered(laptop).receipts[LAPTOP]
    assert (proof.server_key, proof.statement.sequence) == (new, 3)


@ensure
async def test_the_key_of_the_invitation_counts_from_the_start(laptop: Laptop) -> None:
    generations = laptop.generations()
    generations.history._pinned = b"x" * 32
    with pytest.raises(ServerKeyChanged):
        await generations.history.check(await laptop.repository.describe(), None)
    generations.history._pinned = key_of(laptop.server)
    await generations.history.check(await laptop.repository.describe(), None)
    assert remembered(laptop).server_key is None  # it need not be noted twice


@ensure
@pytest.mark.parametrize("kept", [0, 1, 2])
async def test_a_restored_server_is_named_and_accepted(laptop: Laptop, kept: int) -> None:
    file = laptop.root / "file"
    for number in range(3):
        file.write_bytes(b"content %d" % number)
        newest = await laptop.back_up()
    lost = remembered(laptop).receipts[LAPTOP]
    laptop.server = laptop.repository.server = rolled_back(laptop.server, kept)

    for command in (
        laptop.back_up,
        lambda: catalogue.fetch(laptop.repository, laptop.generations()),
        lambda: accepting.check_history(laptop.repository, laptop.generations()),
    ):
        with pytest.raises(ServerRolledBack) as caught:
            await command()
    gone = f"{3 - kept} generation{'' if kept == 2 else 's'} of laptop"
    assert gone in str(caught.value)
    assert (await describe(laptop)).problems == [str(caught.value)]

    loss = await accepting.accept_history(laptop.repository, laptop.generations(), 5)
    assert loss is not None
    assert (loss.generation, loss.count, loss.proof) == (newest, 3 - kept, lost)
    again = await accepting.accept_history(laptop.repository, laptop.generations(), 6)
    assert again is None

    generation = await laptop.back_up()
    assert laptop.warnings == []
    manifest = (await laptop.generations().get(generation)).manifest
    assert manifest.sequence == kept + 1
    assert (await laptop.below(generation))["file"].content == b"content 2"
    assert remembered(laptop).receipts[LAPTOP].statement.sequence == kept + 1
    assert remembered(laptop).proof_for(LAPTOP, newest[:8]) == lost
    shown = await describe(laptop)
    assert (shown.problems, [each.generation for each in shown.losses]) == ([], [newest])
    assert any(line.startswith(f"lost: {3 - kept} up to {newest}") for line in shown.lines())
    assert (await describe(laptop)).losses == []
    await laptop.back_up()


@ensure
async def test_a_server_that_went_on_from_an_old_copy(laptop: Laptop) -> None:
    """With another client's commits: two receipts with one number."""
    (laptop.root / "file").write_bytes(b"content")
    await laptop.back_up()
    await laptop.back_up()
    laptop.server = laptop.repository.server = rolled_back(laptop.server, 1)
    laptop.repository.name = ClientName("pc")
    home = laptop.home
    laptop.home = home / "pc"
    laptop.home.mkdir()
    await laptop.back_up()
    laptop.repository.name, laptop.home = LAPTOP, home

    with pytest.raises(ServerForked, match="two receipts number 2") as caught:
        await laptop.back_up()
    assert "of pc" in str(caught.value)
    await accepting.accept_history(laptop.repository, laptop.generations(), 5)
    await laptop.back_up()
    assert remembered(laptop).receipts[LAPTOP].statement.sequence == 3


@ensure
async def test_a_server_that_signs_one_generation_twice(laptop: Laptop) -> None:
    """The manifests are the same, and only the receipts tell."""
    (laptop.root / "file").write_bytes(b"content")
    generation = await laptop.back_up()
    found = laptop.server.generations[generation]
    summary = found.committed.summary
    laptop.server.generations.clear()
    other = laptop.server.countersigned(
        evolve(summary.receipt, received_ns=7), LAPTOP, found.committed.manifest_id
    )
    committed = evolve(found.committed, summary=evolve(summary, receipt=other))
    laptop.server.generations[generation] = evolve(found, committed=committed)
    with pytest.raises(ServerForked, match="two receipts number 1"):
        await laptop.back_up()


@ensure
async def test_a_server_that_takes_its_signature_back(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    generation = await laptop.back_up()
    found = laptop.server.generations[generation]
    summary = found.committed.summary
    unsigned = evolve(summary, receipt=evolve(summary.receipt, countersigned=None))
    committed = evolve(found.committed, summary=unsigned)
    laptop.server.generations[generation] = evolve(found, committed=committed)
    with pytest.raises(HistoryBroken, match="is not signed by its key"):
        await laptop.back_up()


@ensure
async def test_a_list_in_another_order_is_found_out(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    laptop.repository.name = ClientName("pc")
    home = laptop.home
    laptop.home = home / "pc"
    laptop.home.mkdir()
    await laptop.back_up()
    await laptop.back_up()
    laptop.repository.name, laptop.home = LAPTOP, home
    await laptop.back_up()
    await catalogue.fetch(laptop.repository, laptop.generations())
    one, two, three = laptop.server.generations.items()
    laptop.server.generations = dict([two, one, three])
    with pytest.raises(HistoryBroken, match="in another order than it was received"):
        await catalogue.fetch(laptop.repository, laptop.generations())
    laptop.server.generations = dict([two, three])
    await catalogue.fetch(laptop.repository, laptop.generations())


@ensure
async def test_nothing_to_accept(laptop: Laptop) -> None:
    (laptop.root / "file").write_bytes(b"content")
    assert await accepting.accept_history(laptop.repository, laptop.generations(), 5) is None
    await laptop.back_up()
    before = remembered(laptop)
    assert await accepting.accept_history(laptop.repository, laptop.generations(), 5) is None
    assert remembered(laptop) == before
