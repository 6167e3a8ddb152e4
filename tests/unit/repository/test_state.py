"""The state file: what is written comes back, and what is damaged is not forgotten."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from obnam.errors import ConfigurationError
from obnam.model.ids import ClientName, parse_generation_id
from obnam.repository.state import (
    LOSSES_MAX,
    STATE_MAX,
    Loss,
    Remembered,
    change,
    load,
    remember,
)
from obnam.repository.trust import Link
from tests.support.receipts import Notary

ME, OTHER = ClientName("laptop"), ClientName("pc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def full() -> Remembered:
    """Something of everything."""
    notary = Notary()
    for number in (1, 2, 3):
        notary.commit("laptop", number)
    one, two, three = notary.proofs()
    said = three.statement
    link = Link(3, said.generation, said.manifest_id)
    losses = (
        Loss(ME, one.statement.generation, 1, 5, one, told=True),
        Loss(OTHER, said.generation, 2, 6, None),
    )
    return Remembered({ME: link}, {ME: three, OTHER: two}, notary.identity.key, losses)


def test_all_of_it_comes_back(path: Path, full: Remembered) -> None:
    change(path, lambda _: full)
    assert load(path) == full


def test_what_earlier_versions_wrote(path: Path, full: Remembered) -> None:
    """Without receipts. And they can read what we write."""
    change(path, lambda _: full)
    document = json.loads(path.read_bytes())
    assert document["format"] == 1
    path.write_text(json.dumps({name: document[name] for name in ("format", "clients")}))
    assert load(path) == Remembered(full.newest)


def test_nothing_is_written_when_nothing_changes(path: Path) -> None:
    change(path, lambda memory: memory)
    assert not path.exists()


def test_the_newer_receipt_stays(full: Remembered) -> None:
    newest, older = full.receipts[ME], full.receipts[OTHER]
    assert full.with_receipt(ME, older) == full
    assert full.with_receipt(OTHER, newest).receipts[OTHER] == newest
    anew = evolve(older, server_key=bytes(32))
    assert full.with_receipt(ME, anew).receipts[ME] == anew


def test_a_loss_is_accepted(full: Remembered) -> None:
    loss = Loss(ME, full.newest[ME].generation, 2, 7, full.receipts[ME])
    older = full.receipts[OTHER]
    link = Link(2, older.statement.generation, older.statement.manifest_id)
    after = full.without(loss, link, older)
    assert (after.newest[ME], after.receipts[ME]) == (link, older)
    assert after.losses == (*full.losses, loss)
    nothing = full.without(loss, None, None)
    assert ME not in nothing.newest
    assert ME not in nothing.receipts
    assert nothing.receipts[OTHER] == older
    assert after.proof_for(ME, loss.generation) == loss.proof
    assert after.proof_for(ME, "") == older
    assert after.proof_for(ME, "ffffffff") is None
    told = after.all_told(ME).losses
    assert [each.told for each in told] == [True, False, True]


def test_of_several_losses_the_last_one_is_shown(full: Remembered) -> None:
    one, three = full.losses[0], full.receipts[ME]
    after = full.without(Loss(ME, three.statement.generation, 1, 9, three), None, None)
    assert after.losses[0] == one
    assert after.proof_for(ME, "") == three


def test_losses_are_bounded(full: Remembered) -> None:
    for number in range(LOSSES_MAX + 5):
        loss = Loss(ME, parse_generation_id(f"{number:032x}"), 1, number + 1)
        full = full.without(loss, None, None)
    assert len(full.losses) == LOSSES_MAX
    assert full.losses[-1].accepted_ns == LOSSES_MAX + 5


@pytest.mark.parametrize(
    "more",
    [
        {"receipts": []},
        {"receipts": {"laptop": {}}},
        {"receipts": {"laptop": {"server_key": "00", "signed": "00", "signature": "00"}}},
        {"server_key": "00"},
        {"server_key": 7},
        {"losses": [{}]},
        {"losses": 7},
    ],
    ids=lambda more: json.dumps(more)[:30],
)
def test_damage_is_not_forgotten(path: Path, more: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1, "clients": {}, **more}))
    with pytest.raises(ConfigurationError, match="is damaged"):
        load(path)


def test_no_numbers_from_0(path: Path, full: Remembered) -> None:
    change(path, lambda _: full)
    text = path.read_text()
    for found, zero in (('"count": 1', '"count": 0'), ("   3,", "   0,")):
        assert text.count(found) == 1
        path.write_text(text.replace(found, zero))
        with pytest.raises(ConfigurationError, match="is damaged"):
            load(path)


def test_more_than_is_read(path: Path, full: Remembered) -> None:
    change(path, lambda _: full)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(b" " * (STATE_MAX - size))
    assert load(path) == full
    with path.open("ab") as file:
        file.write(b" ")
    with pytest.raises(ConfigurationError, match="is damaged"):
        load(path)


def test_what_cannot_be_read_is_not_forgotten(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load(path)


def test_nobody_else_writes_between_reading_and_writing(path: Path, full: Remembered) -> None:
    def changed(memory: Remembered) -> Remembered:
        with path.with_suffix(".lock").open("ab") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return full

    change(path, changed)
    assert load(path) == full
    with path.with_suffix(".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_others_wrote_meanwhile_stays(path: Path, full: Remembered) -> None:
    change(path, lambda _: full)
    remember(path, OTHER, full.newest[ME])
    assert load(path) == evolve(full, newest={ME: full.newest[ME], OTHER: full.newest[ME]})
