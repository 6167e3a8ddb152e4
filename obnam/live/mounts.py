"""File systems in which the kernel shows itself: nothing in them is anyone's data."""

import os
from pathlib import Path

OF_THE_KERNEL = frozenset(
    {
        b"binfmt_misc",
        b"bpf",
        b"cgroup",
        b"cgroup2",
        b"configfs",
        b"debugfs",
        b"fusectl",
        b"nsfs",
        b"proc",
        b"rpc_pipefs",
        b"securityfs",
        b"selinuxfs",
        b"smackfs",
        b"sysfs",
        b"tracefs",
    }
)
"""Their files are made up while they are read: they have no size or a wrong one, some never end,
and some do something when they are read. Others that the kernel fills have what can be kept, and
are not among these: devices (devtmpfs), crash reports (pstore), variables of the firmware."""

MOUNTS = Path("/proc/self/mountinfo")


def devices_of_the_kernel(mounts: Path = MOUNTS) -> frozenset[int]:
    """The devices (``st_dev``) of such file systems that are mounted now, anywhere.

    See proc(5) for the lines: ``id parent major:minor root place options [fields…] - type …``.
    Where that cannot be read none is known: what is in doubt is backed up.
    """
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return frozenset()
    found = set()
    for line in lines:
        mount, _, system = line.partition(b" - ")
        if system.partition(b" ")[0] in OF_THE_KERNEL:
            major, minor = mount.split(b" ", 3)[2].split(b":")
            found.add(os.makedev(int(major), int(minor)))
    return frozenset(found)
