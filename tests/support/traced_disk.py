"""What is asked of the real disk, in order: whether what has a name was durable before it.

Not what SQLite asks of it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def traced_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps from now on: what is synced, made, removed, and renamed; by the last part of it."""
    steps: list[str] = []
    fsync, mkdir, unlink = os.fsync, os.mkdir, os.unlink

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    def made(path: Any, *more: Any, **named: Any) -> None:
        mkdir(path, *more, **named)
        steps.append(f"make {Path(path).name}")

    def removed(path: Any, **more: Any) -> None:
        unlink(path, **more)
        steps.append(f"remove {Path(path).name}")

    def noted(name: str) -> Callable[..., None]:
        call: Callable[..., None] = getattr(os, name)

        def named(source: Any, target: Any, **more: Any) -> None:
            call(source, target, **more)
            steps.append(f"{Path(source).name} -> {Path(target).name}")

        return named

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(os, "unlink", removed)
    for name in ("link", "rename", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    return steps
