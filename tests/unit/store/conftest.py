"""The store's tests work in memory."""

from tests.support.in_memory import tmp_path

__all__ = ["tmp_path"]
