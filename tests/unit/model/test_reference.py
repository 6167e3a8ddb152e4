from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import UnknownReference
from obnam.model.ids import ClientName, GenerationId
from obnam.model.reference import Before, Candidate, Latest, Prefix, parse, resolve

LAPTOP, OTHER = ClientName("laptop"), ClientName("other")


def candidate(
    digits: str, when: str, client: ClientName = LAPTOP, *, partial: bool = False
) -> Candidate:
    received = datetime.fromisoformat(when).replace(tzinfo=UTC)
    generation = GenerationId(digits.ljust(32, "0"))
    return Candidate(generation, client, int(received.timestamp()) * 10**9 + 999, partial)


ALL = [
    candidate("aa1", "2026-10-31T23:59:59"),
    candidate("aa2", "2026-11-01T00:00:00"),
    candidate("bb1", "2026-11-01T09:30:59", OTHER),
    candidate("ab", "2026-11-01T09:30:59"),
    candidate("b2", "2026-11-01T09:31:00"),
    candidate("c", "2026-11-02T12:00:00", partial=True),
]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("latest", "b2"),
        ("latest~0", "b2"),
        ("latest~1", "ab"),
        ("latest~3", "aa1"),
        ("aa1", "aa1"),
        ("bb", "bb1"),
        ("c", "c"),
        ("aa2".ljust(32, "0"), "aa2"),
        ("@2026-10-31", "aa1"),
        ("@2026-11-01", "b2"),
        ("@2026-11-01T00:00", "aa2"),
        ("@2026-11-01T09:29", "aa2"),
        ("@2026-11-01T09:30", "ab"),
        ("@2999-12-31", "b2"),
    ],
)
def test_what_a_reference_stands_for(text: str, found: str) -> None:
    assert resolve(text, ALL, LAPTOP, UTC) == found.ljust(32, "0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("latest~4", "no such generation"),
        ("a", "3 generations begin so"),
        ("d", "no such generation"),
        ("@2026-10-30", "no such generation"),
        ("@2026-13-01", "is no reference"),
        ("@2026-11-01T25:00", "is no reference"),
        ("@0000-01-01", "is no reference"),
        ("latest~", "is no reference"),
        ("latest~-1", "is no reference"),
        ("LATEST", "is no reference"),
        ("AA1", "is no reference"),
        ("", "is no reference"),
        ("a" * 33, "is no reference"),
    ],
)
def test_what_stands_for_nothing(text: str, problem: str) -> None:
    with pytest.raises(UnknownReference, match=problem):
        resolve(text, ALL, LAPTOP, UTC)


def test_no_generations_and_only_partial_ones_are_told_apart() -> None:
    with pytest.raises(
        UnknownReference, match="has no generation yet; run `obnam backup`, or name"
    ):
        resolve("latest", [candidate("bb1", "2026-11-01T09:30:59", OTHER)], LAPTOP, UTC)
    with pytest.raises(UnknownReference, match=r"has no generation yet; run `obnam backup`$"):
        resolve("latest", [], LAPTOP, UTC)
    with pytest.raises(UnknownReference, match="only partial"):
        resolve("latest", [candidate("c", "2026-11-02T12:00:00", partial=True)], LAPTOP, UTC)


def test_dates_are_those_of_the_zone() -> None:
    """The day on which clocks are set back has 25 hours."""
    berlin = ZoneInfo("Europe/Berlin")
    end = parse("@2026-10-25", berlin)
    assert isinstance(end, Before)
    assert end.end_ns == int(datetime(2026, 10, 25, 23, tzinfo=UTC).timestamp()) * 10**9
    west = parse("@2026-10-25T00:00", timezone(timedelta(hours=-5)))
    assert west == Before(int(datetime(2026, 10, 25, 5, 1, tzinfo=UTC).timestamp()) * 10**9)


@given(st.text(max_size=40))
def test_anything_is_a_reference_or_refused(text: str) -> None:
    try:
        found = parse(text, UTC)
    except UnknownReference as error:
        assert text in str(error)
    else:
        assert isinstance(found, Latest | Prefix | Before)
