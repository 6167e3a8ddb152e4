"""How many files may be open: what is asked for, what is too few, what is kept of it."""

import resource

import pytest
from attrs import define

from obnam import open_files

INFINITE = resource.RLIM_INFINITY


@define
class Limits:
    """Limits of a process that are not ours."""

    soft: int
    hard: int

    def get(self, what: int) -> tuple[int, int]:
        assert what == resource.RLIMIT_NOFILE
        return self.soft, self.hard

    def set(self, what: int, limits: tuple[int, int]) -> None:
        assert what == resource.RLIMIT_NOFILE
        self.soft, self.hard = limits


def limited(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> Limits:
    limits = Limits(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    return limits


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 1 << 20, 4096),
        (1024, INFINITE, 4096),
        (1024, 2048, 2048),
        (64, 64, 64),
        (1 << 16, 1 << 20, 1 << 16),
        (INFINITE, INFINITE, INFINITE),
    ],
)
def test_more_are_asked_for_and_never_fewer(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: int
) -> None:
    limits = limited(monkeypatch, soft, hard)
    open_files.require()
    assert limits == Limits(then, hard)


def test_too_few_for_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 8, 63)
    with pytest.raises(OSError, match=r"only 63 .* and 64 are needed: .* \(`ulimit -n`\)"):
        open_files.require()


@pytest.mark.parametrize(("soft", "kept"), [(INFINITE, 128), (4096, 128), (64, 16), (1, 2)])
def test_directories_are_kept_as_far_as_there_is_room(
    monkeypatch: pytest.MonkeyPatch, soft: int, kept: int
) -> None:
    limited(monkeypatch, soft, soft)
    assert open_files.directories_kept() == kept
