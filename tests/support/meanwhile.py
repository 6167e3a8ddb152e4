"""Something that another thread does between two looks that one takes: always at that moment."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field


@define
class Meanwhile:
    """``change`` happens once, when a method is called. ``happened``: it did."""

    change: Callable[[], object]
    happened: bool = field(init=False, default=False)

    def _now(self) -> None:
        if not self.happened:
            self.happened = True  # First: it may call the same method.
            self.change()

    def after(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> "Meanwhile":
        """Let it happen right after the first look that ``owner.name`` takes."""
        real = getattr(owner, name)

        def looked(*args: Any, **named: Any) -> Any:
            found = real(*args, **named)
            self._now()
            return found

        monkeypatch.setattr(owner, name, looked)
        return self

    def before(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> "Meanwhile":
        """Let it happen right before that."""
        real = getattr(owner, name)

        def looked(*args: Any, **named: Any) -> Any:
            self._now()
            return real(*args, **named)

        monkeypatch.setattr(owner, name, looked)
        return self
