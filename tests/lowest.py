"""Prints the lowest versions that setup.py allows, as constraints for pip.

`tox -e lowest` runs with them, so that what setup.py promises is known to be true.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.py"


def lowest(source: str) -> Iterator[str]:
    """A line for each requirement in the source's ``INSTALL_REQUIRES``."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "INSTALL_REQUIRES":
            for requirement in ast.literal_eval(node.value):
                name, _, version = requirement.partition(">=")
                yield f"{name.partition('[')[0]}=={version}"


if __name__ == "__main__":
    print("\n".join(lowest(SETUP.read_text(encoding="utf-8"))))
