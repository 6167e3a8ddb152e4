"""The order of tests for several processes: no test is lost, and no slow module is cut."""

import pytest

from tests.support.order import in_parts, is_slow

SLOW = [f"tests/{m}.py::test_{n}" for m in ("a", "b", "c") for n in range(4)]
FAST = [f"tests/unit/{m}.py::test_{n}" for m in ("a", "b") for n in range(20)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("names", [[], SLOW[:1], FAST, SLOW, SLOW + FAST, FAST + SLOW])
def test_all_are_there_and_the_slow_ones_come_first(names: list[str], count: int) -> None:
    parts = in_parts(names, count)
    assert sorted(name for part in parts for name in part) == sorted(names)
    for part in parts:
        assert sorted(part, key=lambda name: not is_slow(name)) == part
    for module in ("tests/a.py", "tests/b.py", "tests/c.py"):
        assert sum(any(name.startswith(module) for name in part) for part in parts) <= 1


def test_parts_are_as_long_as_they_are_cut() -> None:
    assert [len(part) for part in in_parts(SLOW + FAST, 2)] == [26, 26]
    assert [len(part) for part in in_parts(SLOW + FAST, 3)] == [17, 17, 18]
