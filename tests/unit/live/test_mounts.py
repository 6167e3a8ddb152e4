"""Which file systems show the kernel, and no data."""

import os
from pathlib import Path

from obnam.live.mounts import devices_of_the_kernel

LINES = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime shared:2 master:1 - devtmpfs devtmpfs rw,mode=755
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs - rw,mode=755
41 31 0:38 / /a\040place\040-\040proc rw,relatime - cgroup2 cgroup2 rw
42 23 259:4660 / /home rw,relatime shared:9 - ext4 proc rw
"""


def test_devices_of_these_only(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(LINES)
    assert devices_of_the_kernel(mounts) == {os.makedev(0, 21), os.makedev(0, 38)}


def test_here() -> None:
    found = devices_of_the_kernel()
    assert os.stat("/proc/self").st_dev in found
    assert os.stat(__file__).st_dev not in found


def test_where_it_cannot_be_read(tmp_path: Path) -> None:
    assert devices_of_the_kernel(tmp_path / "mountinfo") == frozenset()
