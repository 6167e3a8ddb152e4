"""Give a restored entry its owner, attributes, permissions and times, in the order that works.

Owner first, because changing it clears setuid, setgid and file capabilities; then attributes,
while the entry can still be written; then permissions, which settle the mask of an ACL; times
last. Until then nobody but the restoring user can open what is restored (it is made with mode
0600 or 0700).
"""

import errno
import os
import stat
import struct
from typing import Self

from attrs import frozen

from obnam.model.entry import Metadata

ACCESS_ACL = b"system.posix_acl_access"
_ACLS = (ACCESS_ACL, b"system.posix_acl_default")

NO_ID = 0xFFFF_FFFF
"""``(uid_t) -1``: to chown(2) "leave it as it is", so no owner has this number."""

_ACL_ENTRY = struct.Struct("<HHI")
_ACL_HEADER_BYTES = 4
_ACL_GROUP_OBJ = 0x04
"""``linux/posix_acl_xattr.h``: 4 bytes version, then entries: tag, permissions, id."""

NO_SUCH_THING = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)
"""Of file systems that have no owners, permissions or times, or not ours: vfat, NTFS, CIFS, and
those of FUSE that were written without (``ENOSYS``). The content is there all the same."""

_KEPT_PREFIXES = (b"security.", b"trusted.")
"""Attributes that the system gives of its own accord; they are no leftovers."""

Place = int | bytes
"""An open file or directory; or a path below ``/proc/self/fd`` that stands for an ``O_PATH`` one,
on which the kernel allows no other way."""

Owner = tuple[int, int]
"""User and group of an entry."""


def owner_of(status: os.stat_result) -> Owner:
    """Whose an entry is."""
    return status.st_uid, status.st_gid


@frozen
class Rights:
    """Whose files this process can make: ``root`` may give them to anyone."""

    uid: int
    groups: frozenset[int]
    root: bool

    @classmethod
    def of_process(cls) -> Self:
        """Those that this process has now."""
        uid = os.geteuid()
        return cls(uid, frozenset((*os.getgroups(), os.getegid())), uid == 0)


@frozen
class Missed:
    """What could not be set, and is to be counted: not an error by itself.

    ``owner``: owner or group, because they are not one's own; setuid and setgid are then left out
    too. ``attributes``: names, each with its errno; also of those that could not be removed.
    ``permissions``: because the file system has none, or others; what is there is what it gives.
    ``times``: because it has none, or does not let them be set.
    """

    owner: bool = False
    attributes: tuple[tuple[bytes, int], ...] = ()
    permissions: bool = False
    times: bool = False


NOTHING_MISSED = Missed()


def apply_metadata(
    place: Place,
    metadata: Metadata,
    rights: Rights,
    *,
    link: bool = False,
    clean: bool = False,
    owner: Owner | None = None,
) -> Missed:
    """Set all of ``metadata``, as far as the file system has it: what it has not is `Missed`.

    Raises ``OSError`` when it is broken, full, or can only be read.
    ``link``: a symbolic link, which has no permissions of its own. ``clean``: attributes that
    ``metadata`` does not have, left from before or inherited from a default ACL, are removed.
    ``owner``: what it is known to have, else it is looked for.
    The access time becomes the modification time, as none is kept.
    """
    mode, uid, gid, mtime_ns, attributes = metadata
    mode &= 0o7777
    has_uid, has_gid = _give(place, uid, gid, rights, owner)
    if not has_uid:
        mode &= ~stat.S_ISUID
    if not has_gid:
        mode &= ~stat.S_ISGID
    missed: tuple[tuple[bytes, int], ...] = ()
    if clean:
        missed = _clean(place, metadata)
    if attributes:
        unset = _set_attributes(place, metadata)
        if unset:
            mode = _without_acl(mode, metadata, unset)
            missed += unset
    has_mode = link or _set_mode(place, mode)
    has_times = _set_times(place, mtime_ns)
    if has_uid and has_gid and has_mode and has_times and not missed:
        return NOTHING_MISSED
    return Missed(not (has_uid and has_gid), missed, not has_mode, not has_times)


def _give(
    place: Place, uid: int, gid: int, rights: Rights, owner: Owner | None
) -> tuple[bool, bool]:
    """Set owner and group; whether each is now as wanted."""
    if rights.root and owner == (uid, gid):
        return True, True
    has_uid = uid == rights.uid or rights.root
    has_gid = gid in rights.groups or rights.root
    if not (0 <= uid < NO_ID and 0 <= gid < NO_ID):
        return False, False
    if not has_gid:
        return has_uid, False
    if owner is None and isinstance(place, int):
        # Most files are ours: to look costs a third of what giving them again does.
        owner = owner_of(os.fstat(place))
    if owner is not None and owner[1] == gid and (owner[0] == uid or not rights.root):
        return has_uid, True
    try:
        os.chown(place, uid if rights.root else -1, gid)
    except OSError as error:
        # Root of a container may give files only to users that the container has (EINVAL).
        if error.errno not in (errno.EINVAL, *NO_SUCH_THING):
            raise
        return has_uid and not rights.root, False
    return has_uid, True


def _set_attributes(place: Place, metadata: Metadata) -> tuple[tuple[bytes, int], ...]:
    missed = []
    for name, value in metadata.attributes:
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            missed.append((name, error.errno or errno.EIO))
    return tuple(missed)


def _set_mode(place: Place, mode: int) -> bool:
    """Set permissions; false where the file system has no such ones (vfat, NTFS, CIFS)."""
    try:
        os.chmod(place, mode)
    except OSError as error:
        if error.errno not in NO_SUCH_THING:
            raise
        return False
    return True


def _set_times(place: Place, mtime_ns: int) -> bool:
    try:
        os.utime(place, ns=(mtime_ns, mtime_ns))
    except OSError as error:
        if error.errno not in NO_SUCH_THING:
            raise
        return False
    return True


def _clean(place: Place, metadata: Metadata) -> tuple[tuple[bytes, int], ...]:
    """Remove what ``metadata`` does not have; what is there for good (of NFS, say) is told."""
    try:
        present = {os.fsencode(name) for name in os.listxattr(place)}
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return ()
        raise
    stayed = []
    for name in present.difference(each for each, _ in metadata.attributes):
        if not name.startswith(_KEPT_PREFIXES):
            try:
                os.removexattr(place, name)
            except OSError as error:
                if name in _ACLS:
                    raise  # It would let others in.
                stayed.append((name, error.errno or errno.EIO))
    return tuple(sorted(stayed))


def _without_acl(mode: int, metadata: Metadata, missed: tuple[tuple[bytes, int], ...]) -> int:
    """The mode of an entry whose ACL could not be set.

    With an ACL, the group's place in the mode is the mask, and may allow more than the group
    itself is allowed. Without, the group gets what the ACL says of it, so that nobody gains.
    """
    if not any(name == ACCESS_ACL for name, _ in missed):
        return mode
    acl = dict(metadata.attributes)[ACCESS_ACL][_ACL_HEADER_BYTES:]
    group = 0
    if len(acl) % _ACL_ENTRY.size == 0:
        for tag, permissions, _ in _ACL_ENTRY.iter_unpack(acl):
            if tag == _ACL_GROUP_OBJ:
                group = permissions & 0o7
    return mode & (~0o070 | group << 3)
