"""How the demonstration tells what it does: in colour on a terminal, plainly elsewhere."""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TextIO

WIDTH = 78
BOLD, DIM, GREEN, RED, YELLOW = "1", "2", "32", "31", "33"


def rate(amount: float, seconds: float, unit: str) -> str:
    """So much a second, for people: ``rate(2e6, 1.0, "B")`` is ``2.0 MB/s``."""
    return f"{scaled(amount / max(seconds, 1e-6), unit)}/s"


def scaled(amount: float, unit: str) -> str:
    """Bytes (unit ``B``) as kB, MB, GB of 1000; anything else with thousands set apart."""
    if unit != "B":
        return f"{amount:,.0f} {unit}"
    prefixes = iter("kMGT")
    prefix = ""
    while amount >= 999.5:
        amount /= 1000
        prefix = next(prefixes)
    return f"{amount:.{0 if amount >= 99.95 or not prefix else 1}f} {prefix}B"


class Teller:
    """Prints steps, the commands in them, and what came of them."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._colour = out.isatty() and "NO_COLOR" not in os.environ
        self._step = 0

    def title(self, text: str) -> None:
        """The first line."""
        self._print(f"\n{self._in(BOLD, text)}")

    def step(self, text: str) -> None:
        """A new step begins."""
        self._step += 1
        self._print(f"\n{self._in(BOLD, f'{self._step}. {text}')}")

    def command(self, words: Sequence[str]) -> None:
        """A command that is run now, as a user would type it."""
        self._print(f"   {self._in(DIM, '$ ' + shlex.join(words))}")

    def say(self, text: str, took_s: float | None = None) -> None:
        """What came of it, and how long it took, at the right."""
        if took_s is None:
            self._print(f"   {text}")
        else:
            took = f"{took_s:.2f} s"
            self._print(f"   {text:<{WIDTH - 3 - len(took)}}{took}")

    def quote(self, lines: Sequence[str]) -> None:
        """What a command printed."""
        for line in lines:
            self._print(f"   {self._in(DIM, '|')} {line}")

    def row(self, name: str, *values: str) -> None:
        """A line of the table at the end."""
        self._print(f"   {name:<22}" + "".join(f"{value:>18}" for value in values))

    def well(self, text: str) -> None:
        """It is as it should be: the last line."""
        self._print(f"\n   {self._in(GREEN, text)}")

    def careful(self, text: str) -> None:
        """Worth knowing."""
        self._print(f"   {self._in(YELLOW, text)}")

    def wrong(self, text: str) -> None:
        """It is not as it should be."""
        self._print(f"\n{self._in(RED, text)}")

    def _in(self, colour: str, text: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self._colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)
