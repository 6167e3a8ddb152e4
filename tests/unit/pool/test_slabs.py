"""Slabs: shared, bounded, waited for, and never taken for another."""

import errno
import os
from pathlib import Path

import pytest
import pytest_twisted  # type: ignore[import-untyped]
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from obnam.pool.rack import SlabRack
from obnam.pool.slabs import Slab, attach, make_slab

ensure = pytest_twisted.ensureDeferred


def fired(deferred: "Deferred[Slab]") -> list[Slab]:
    """What a Deferred has by now."""
    results: list[Slab] = []
    deferred.addCallback(results.append)
    return results


def test_both_ends_see_the_same_bytes() -> None:
    slab = make_slab(4096)
    other = attach(slab.name)
    slab.view[:5] = b"hello"
    other[5:10] = b"world"
    assert bytes(slab.view[:10]) == bytes(other[:10]) == b"helloworld"
    assert len(slab.view) == len(other) == 4096
    slab.remove()
    assert bytes(other[:10]) == b"helloworld"  # as long as it is mapped


def test_a_name_is_never_used_again() -> None:
    """Its descriptor's number is; a worker that has a mapping by the name must not be misled."""
    names = set()
    for _ in range(3):
        slab = make_slab(4096)
        names.add(slab.name)
        slab.remove()
    assert len(names) == 3
    assert len({name.partition("#")[0] for name in names}) == 1


def test_a_slab_that_is_gone_is_not_another() -> None:
    slab = make_slab(4096)
    slab.remove()
    with pytest.raises(OSError):
        attach(slab.name)


@pytest.mark.parametrize("by", ["file", "slab"])
def test_what_has_its_number_now_is_not_taken_for_it(tmp_path: Path, by: str) -> None:
    """A job may begin after a backup has failed: it must not write into what is backed up."""
    file = tmp_path / "live"
    file.write_bytes(b"dear")
    slab, other = make_slab(4096), make_slab(4096)
    slab.remove()
    descriptor = os.open(file, os.O_RDONLY) if by == "file" else os.dup(other.descriptor)
    try:
        assert descriptor == slab.descriptor
        with pytest.raises(OSError, match="Stale"):
            attach(slab.name)
    finally:
        os.close(descriptor)
        other.remove()
    assert file.read_bytes() == b"dear"


def test_so_many_and_no_more() -> None:
    rack = SlabRack(2, 4096)
    first, second = fired(rack.take()), fired(rack.take())
    third, fourth = fired(rack.take()), fired(rack.take())
    assert len(first) == len(second) == 1
    assert first[0] is not second[0]
    assert third == fourth == []
    rack.put_back(second[0])
    assert third == second
    rack.put_back(first[0])
    assert fourth == first
    rack.put_back(first[0])
    assert fired(rack.take()) == first  # made once, used again
    rack.close()


def test_one_that_is_replaced_is_never_given_again() -> None:
    rack = SlabRack(1, 4096)
    idle: list[bool] = []
    rack.when_idle = lambda: idle.append(True)
    (first,) = fired(rack.take())
    waiting = fired(rack.take())
    rack.replace(first)
    assert len(waiting) == 1
    assert waiting[0] is not first
    assert idle == []
    rack.replace(waiting[0])
    assert idle == [True]
    (third,) = fired(rack.take())
    assert third not in (first, waiting[0])
    assert fired(rack.take()) == []  # there are never two
    first.view[:1] = b"x"  # it is still there for whoever reads it
    rack.close()


def test_who_waits_for_one_that_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rack = SlabRack(1, 4096)
    (first,) = fired(rack.take())
    waiting, after = rack.take(), rack.take()

    def no_memory(size_bytes: int) -> Slab:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as patched:
        patched.setattr("obnam.pool.rack.make_slab", no_memory)
        rack.replace(first)
        told: list[object] = []
        waiting.addErrback(told.append)
        (failure,) = told
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, OSError)
        with pytest.raises(OSError, match="memory"):
            rack.take()
    (second,) = fired(rack.take())
    assert second is not first
    rack.put_back(second)
    assert fired(after) == [second]
    rack.close()


def test_who_gives_up_waiting_gets_none() -> None:
    rack = SlabRack(1, 4096)
    taken = fired(rack.take())
    waiting, after = rack.take(), fired(rack.take())
    told: list[object] = []
    waiting.addBoth(told.append)
    waiting.cancel()
    (failure,) = told
    assert isinstance(failure, Failure)
    assert isinstance(failure.value, CancelledError)
    rack.put_back(taken[0])
    assert after == taken
    rack.close()


def test_none_is_made_before_it_is_wanted() -> None:
    rack = SlabRack(1000, 1 << 40)  # more than any machine has
    rack.close()
