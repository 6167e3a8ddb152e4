"""In which order tests run when several processes share them: the slow ones first.

``--dist worksteal`` gives each process a part of the list, of as many tests as the others', and
whoever is done takes tests from the end of another part. So each part begins with its share of the
slow modules, and ends with tests that take milliseconds: all parts end together, and the servers
and worlds that the tests of a slow module share are made once.
"""

from collections.abc import Sequence


def is_slow(name: str) -> bool:
    """Whether a test's module starts processes, or lives through a store's day again and again."""
    return not name.startswith("tests/unit/")


def in_parts(names: Sequence[str], count: int) -> list[list[str]]:
    """So many parts, as long as pytest-xdist cuts them; slow modules stay together."""
    parts: list[list[str]] = [[] for _ in range(count)]
    modules: dict[str, list[str]] = {}
    for name in filter(is_slow, names):
        modules.setdefault(name.partition("::")[0], []).append(name)
    for number, module in enumerate(modules.values()):
        parts[number % count] += module
    fast = [name for name in names if not is_slow(name)]
    for number, part in enumerate(parts):
        length = (number + 1) * len(names) // count - number * len(names) // count
        room = max(0, length - len(part))
        part += fast[:room]
        del fast[:room]
    return parts
