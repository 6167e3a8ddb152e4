"""Upkeep is tried on stores in memory."""

from tests.support.in_memory import tmp_path

__all__ = ["tmp_path"]
