"""All jobs: the fork server imports this once, and workers are forked with it.

Nothing here needs Twisted, which would double what there is to import.
"""

from obnam.pool.check_files import check_files, open_part
from obnam.pool.read_back import read_back
from obnam.pool.read_files import name_bundle, name_files, name_part
from obnam.pool.seal_pieces import seal_pieces
from obnam.pool.write_files import finish_file, write_files, write_part

__all__ = [
    "check_files",
    "finish_file",
    "name_bundle",
    "name_files",
    "name_part",
    "open_part",
    "read_back",
    "seal_pieces",
    "write_files",
    "write_part",
]
