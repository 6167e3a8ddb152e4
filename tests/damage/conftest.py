"""Disks fail here by a script: the real one would only be slow."""

from tests.support.in_memory import tmp_path

__all__ = ["tmp_path"]
