"""What stores in this process has lies in memory; servers of their own have the disk."""

from tests.support.in_memory import tmp_path

__all__ = ["tmp_path"]
