"""Read what an entry has besides content and status: extended attributes and link targets.

POSIX ACLs are attributes to Linux (``system.posix_acl_access`` and ``…_default``), and so are
SELinux labels and file capabilities (``security.*``). They are kept as the bytes they are.
"""

import errno
import os
import struct
from collections.abc import Sequence

from obnam.model.entry import Attributes

ATTRIBUTES_MAX = 1 << 20
"""All attributes of an entry, encoded (bytes). Linux allows 64 KiB for one value and for all names
(``XATTR_SIZE_MAX``, ``XATTR_LIST_MAX`` in ``linux/limits.h``); real ones have a few hundred."""

VALUE_MAX = 64 << 10

NONE: Attributes = ()

_LENGTHS = struct.Struct("<BI")
_ABSENT = frozenset({errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS})

_ACLS_OF_XFS = frozenset({b"trusted.SGI_ACL_FILE", b"trusted.SGI_ACL_DEFAULT"})
"""How XFS keeps ACLs, which it shows to root beside the names that Linux has for them. Restored to
another file system they would be text that nobody heeds; and restored from there to XFS, they would
bring back an ACL that was changed meanwhile."""


class BadAttributes(ValueError):
    """Bytes that `encode_attributes` did not make."""


def read_attributes(descriptor: int) -> Attributes:
    """Extended attributes of an open file or directory, sorted by name.

    None where the file system has none; one system call when there are none. Those that ordinary
    users may not see (``trusted.*``) are there for root only. Raises ``OSError``; with ``E2BIG``
    when they are more than ``ATTRIBUTES_MAX``.
    """
    try:
        names = os.listxattr(descriptor)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return NONE
    return _values(descriptor, names, follow=True) if names else NONE


def read_attributes_at(directory: int, name: bytes) -> Attributes:
    """The same for the entry ``name`` of an open directory, which is not opened or followed.

    ``name`` may also be an absolute path. ``/proc`` must be mounted, because before Linux 6.13 no
    system call reads attributes relative to a descriptor.
    """
    if name.startswith(b"/"):
        return _read_unfollowed(name)
    return _read_unfollowed(b"/proc/self/fd/%d/%s" % (directory, name))


def read_link(directory: int, name: bytes) -> bytes:
    """Where the symbolic link ``name`` in an open directory leads, as it is written there."""
    return os.readlink(name, dir_fd=directory)


def encode_attributes(attributes: Attributes) -> bytes:
    """Attributes as bytes, nothing when there are none.

    One after another, in order of their names, each: 1 byte length of the name, 4 bytes
    little-endian length of the value, name, value.
    """
    return b"".join(
        _LENGTHS.pack(len(name), len(value)) + name + value for name, value in attributes
    )


def decode_attributes(data: bytes) -> Attributes:
    """The attributes that `encode_attributes` wrote. Raises `BadAttributes`."""
    if not data:
        return NONE
    if len(data) > ATTRIBUTES_MAX:
        raise BadAttributes(f"more than {ATTRIBUTES_MAX} bytes")
    found: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        if len(data) - position < _LENGTHS.size:
            raise BadAttributes("cut short")
        name_length, value_length = _LENGTHS.unpack_from(data, position)
        middle = position + _LENGTHS.size + name_length
        position = middle + value_length
        if position > len(data) or value_length > VALUE_MAX:
            raise BadAttributes("a length is wrong")
        name = data[middle - name_length : middle]
        if not name or b"\0" in name or (found and name <= found[-1][0]):
            raise BadAttributes("a name is empty, out of order, or not a name")
        found.append((name, data[middle:position]))
    return tuple(found)


def _read_unfollowed(path: bytes) -> Attributes:
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
        return NONE
    return _values(path, names, follow=False) if names else NONE


def _values(place: int | bytes, names: Sequence[str], *, follow: bool) -> Attributes:
    found: list[tuple[bytes, bytes]] = []
    total = 0
    for each in map(os.fsencode, names):
        if each in _ACLS_OF_XFS:
            continue
        try:
            value = os.getxattr(place, each, follow_symlinks=follow)
        except OSError as error:
            # Removed since it was listed, or listed but without a value to read.
            if error.errno == errno.ENODATA or error.errno in _ABSENT:
                continue
            raise
        total += _LENGTHS.size + len(each) + len(value)
        if total > ATTRIBUTES_MAX:
            raise OSError(errno.E2BIG, f"more than {ATTRIBUTES_MAX} bytes of extended attributes")
        found.append((each, value))
    found.sort()
    return tuple(found)
