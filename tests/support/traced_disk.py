"""What is asked of the real disk, in order: whether what has a name was durable before it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def traced_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps from now on: what is synced, and what gets another name; by the last part of it."""
    steps: list[str] = []
    fsync = os.fsync

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    def noted(name: str) -> Callable[..., None]:
        call: Callable[..., None] = getattr(os, name)

        def named(source: Any, target: Any, **more: Any) -> None:
            call(source, target, **more)
            steps.append(f"{Path(source).name} -> {Path(target).name}")

        return named

    monkeypatch.setattr(os, "fsync", synced)
    for name in ("link", "rename", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    return steps
