"""What a list of one client's generations may look like, next to the newest one."""

import pytest
from attrs import evolve

from obnam.browse.catalogue import find_problem
from obnam.model.ids import ClientName, GenerationId
from obnam.wire.messages import GenerationSummary, Receipt


def generation(number: int) -> GenerationId:
    return GenerationId(f"{number:032x}")


def summary(number: int, previous: int | None) -> GenerationSummary:
    return GenerationSummary(
        Receipt(generation(number), number, number),
        ClientName("laptop"),
        None if previous is None else generation(previous),
        False,
        1,
    )


CHAIN = [summary(1, None), summary(2, 1), summary(3, 2), summary(4, 3)]


@pytest.mark.parametrize("gone", [[], [0], [1], [0, 1], [1, 2]])
def test_whole_or_with_some_forgotten(gone: list[int]) -> None:
    listed = [each for at, each in enumerate(CHAIN) if at not in gone]
    assert find_problem(listed, CHAIN[-1]) is None


def test_nothing_yet() -> None:
    assert find_problem([], None) is None


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 1, 2], "is not in the list"),
        ([], "is not in the list"),
        ([0, 1, 3, 2], "ends with"),
        ([1, 0, 2, 3], "is listed behind"),
        ([0, 2, 1, 3], "is listed behind"),
    ],
)
def test_hidden_or_reordered(order: list[int], said: str) -> None:
    problem = find_problem([CHAIN[at] for at in order], CHAIN[-1])
    assert problem is not None
    assert said in problem


def test_another_summary_of_the_newest() -> None:
    """Said to be partial, say, so that `latest` would be the one before it."""
    listed = [*CHAIN[:-1], evolve(CHAIN[-1], partial=True)]
    assert find_problem(listed, CHAIN[-1]) is not None


def test_some_and_no_newest() -> None:
    assert find_problem(CHAIN, None) is not None
