"""Whether a disk that says that it is full has room, and no inodes."""

import os


def lacks_inodes(path: str | bytes | os.PathLike[str]) -> bool:
    """Whether no file can be made where ``path`` is, since each takes an inode: `df -i` shows it.

    File systems that make inodes as they are needed (btrfs, vfat) count none, and lack none.
    """
    try:
        disk = os.statvfs(path)
    except OSError:
        return False  # It is asked for when something else failed, and that is told in any case.
    return disk.f_files > 0 and disk.f_favail == 0
