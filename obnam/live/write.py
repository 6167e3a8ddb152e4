"""The one place where a restore writes, and the containment check that all of it goes through.

A generation may be hostile: names with ``/`` or ``..``, a link followed by a directory of the
same name, a file below a link. Nothing of that leads out of the target, because everything is
made by a single checked name relative to an open directory, and directories below the target are
opened one name at a time without following links.

No room is reserved before it is written (``posix_fallocate``): that would fill the holes of sparse
files, and write everything twice in tmpfs. File systems that delay allocation lay out a file well
without it, and a full disk is told by the write.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections import OrderedDict
from collections.abc import Callable
from typing import Self

from attrs import define, field

from obnam.errors import HostileEntry
from obnam.live.apply import NOTHING_MISSED, Missed, Owner, Rights, apply_metadata, owner_of
from obnam.live.begun import NewFile, Parts, open_again, remove_begun
from obnam.live.content import enlarge, write_at
from obnam.live.overwrite import Decision, decide
from obnam.live.read import DIRECTORY_FLAGS, identity_of
from obnam.live.target import TargetTicket, open_target
from obnam.model.entry import Kind, Metadata, is_entry_name, kind_of, printable
from obnam.open_files import directories_kept

TEMPORARY_PREFIX = b".obnam-"
"""Start of the hidden names under which replacements are written; left behind by a crash only."""

_NEW_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_WORDS = {
    Kind.FILE: "file",
    Kind.DIRECTORY: "directory",
    Kind.SYMLINK: "symbolic link",
    Kind.FIFO: "FIFO",
    Kind.SOCKET: "socket",
    Kind.CHARACTER_DEVICE: "character device",
    Kind.BLOCK_DEVICE: "block device",
}

_FORMATS = {
    Kind.FIFO: stat.S_IFIFO,
    Kind.SOCKET: stat.S_IFSOCK,
    Kind.CHARACTER_DEVICE: stat.S_IFCHR,
    Kind.BLOCK_DEVICE: stat.S_IFBLK,
}


@define
class Target:
    """A directory that is restored into; `obnam.live.target.prepare_target` makes the ticket.

    Methods raise `HostileEntry` for a name that no honest generation has, and ``OSError``, after
    which the entry is not there, or is as it was before, and the restore can go on.
    """

    ticket: TargetTicket
    _descriptor: int
    _rights: Rights = field(factory=Rights.of_process)
    # Directories below the target; of more than are kept, those used longest ago are closed first.
    _open: OrderedDict[Parts, int] = field(init=False, factory=OrderedDict)
    _kept: int = field(init=False, factory=directories_kept)
    # Whose new files in a directory are, as one of them was: the system decides it by the process
    # and the directory. Looked at again whenever files of another directory came between.
    _born_in: Parts | None = field(init=False, default=None)
    _born: Owner | None = field(init=False, default=None)

    @classmethod
    def join(cls, ticket: TargetTicket) -> Self:
        """Open the target that a ticket is for. Raises `BadTarget` when it is another by now."""
        return cls(ticket, open_target(ticket))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all directories. May be called again."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # Directories

    def directory(self, parts: Parts) -> int:
        """A directory's descriptor, good until the next call of any method."""
        if not parts:
            return self._descriptor
        descriptor = self._open.get(parts)
        if descriptor is not None:
            self._open.move_to_end(parts)
            return descriptor
        depth = len(parts) - 1
        while depth and parts[:depth] not in self._open:
            depth -= 1
        descriptor = self._open[parts[:depth]] if depth else self._descriptor
        for end in range(depth + 1, len(parts) + 1):
            name = self._checked(parts[: end - 1], parts[end - 1])
            descriptor = os.open(name, DIRECTORY_FLAGS, dir_fd=descriptor)
            self._open[parts[:end]] = descriptor
            if len(self._open) > self._kept:
                os.close(self._open.popitem(last=False)[1])
        return descriptor

    def make_directory(self, parts: Parts, *, replace: bool = True) -> bool:
        """Make a directory in one that is there; false when it is there already, which is fine.

        Its mode is 0700 until `finish_directory`. Without ``replace``, whatever the ticket says,
        nothing else that stands there makes room.
        """
        above, name = self._place(parts[:-1], parts[-1])
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError as error:
            if not self._makes_room(above, name, Kind.DIRECTORY, error, replace=replace):
                return False
            os.unlink(name, dir_fd=above)
            os.mkdir(name, 0o700, dir_fd=above)
        return True

    def finish_directory(self, parts: Parts, metadata: Metadata) -> Missed:
        """Set a directory's metadata, when all is in it and those below it are finished."""
        return apply_metadata(
            self.directory(parts), metadata, self._rights, clean=self.ticket.clean
        )

    # Files

    def create(
        self, parts: Parts, name: bytes, size: int, mtime_ns: int
    ) -> tuple[NewFile, int] | None:
        """Begin a file; the descriptor is for `write_at` and then for `finish` or `abandon`.

        ``None``: what stands there is kept, as ``--overwrite`` asks for. ``size`` and ``mtime_ns``
        tell whether it is unchanged. Readable and writable for the restoring user only.
        """
        above, name = self._place(parts, name)
        made = name
        try:
            descriptor = os.open(made, _NEW_FLAGS, 0o600, dir_fd=above)
        except FileExistsError as error:
            if not self._makes_room(above, name, Kind.FILE, error, size, mtime_ns):
                return None
            made = _temporary_name()
            descriptor = os.open(made, _NEW_FLAGS, 0o600, dir_fd=above)
        return NewFile(parts, name, made, identity_of(os.fstat(descriptor))), descriptor

    def reopen(self, file: NewFile) -> int:
        """Open a file that was begun, maybe by another process, to write or finish it.

        Raises ``OSError``, with ``ESTALE`` when another stands in its place.
        """
        above, name = self._place(file.parts, file.temporary)
        return open_again(above, name, file)

    def finish(
        self, file: NewFile, descriptor: int, metadata: Metadata, size: int | None = None
    ) -> Missed:
        """Set the metadata of a file that is written, close it, give it its name.

        ``size``: set the file's size first (it ends with a hole). On failure it is abandoned.
        """
        try:
            if size is not None:
                enlarge(descriptor, size)
            missed = apply_metadata(descriptor, metadata, self._rights, clean=self.ticket.clean)
        except BaseException:
            self.abandon(file, descriptor)
            raise
        try:
            os.close(descriptor)
            if file.temporary != file.name:
                above, name = self._place(file.parts, file.name)
                os.rename(file.temporary, name, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            self._remove(file)
            raise
        return missed

    def write_file(
        self, parts: Parts, name: bytes, data: memoryview | bytes, metadata: Metadata
    ) -> Missed | None:
        """Make a file that is in memory in one piece: `create`, `write_at` and `finish` in one.

        ``None``: what stands there is kept. Most files are such, and this takes half the time.
        """
        above = self.directory(parts)
        file: NewFile | None = None
        try:
            descriptor = os.open(self._checked(parts, name), _NEW_FLAGS, 0o600, dir_fd=above)
        except FileExistsError:
            begun = self.create(parts, name, len(data), metadata.mtime_ns)
            if begun is None:
                return None
            file, descriptor = begun
        try:
            if data and os.pwrite(descriptor, data, 0) != len(data):
                write_at(descriptor, [data], 0)  # Cut short: all of it again, to the end or error.
            if file is None:
                if parts is not self._born_in:
                    self._born_in, self._born = parts, owner_of(os.fstat(descriptor))
                missed = apply_metadata(
                    descriptor,
                    metadata,
                    self._rights,
                    clean=self.ticket.clean,
                    owner=self._born,
                )
        except BaseException:
            if file is None:
                file = NewFile(parts, name, name, identity_of(os.fstat(descriptor)))
            self.abandon(file, descriptor)
            raise
        if file is not None:
            return self.finish(file, descriptor, metadata)
        os.close(descriptor)
        return missed

    def abandon(self, file: NewFile, descriptor: int) -> None:
        """Remove and close a file that cannot be written; what it was to replace stays."""
        try:
            self._remove(file)
        finally:
            os.close(descriptor)

    # All else

    def make_symlink(
        self, parts: Parts, name: bytes, leads_to: bytes, metadata: Metadata
    ) -> Missed | None:
        """Make a symbolic link with any text; ``None`` when what stands there is kept."""
        if not leads_to or b"\0" in leads_to:
            raise HostileEntry(printable(b"/".join((*parts, name))), "no link can lead there")

        def make(new: bytes, above: int) -> None:
            os.symlink(leads_to, new, dir_fd=above)

        return self._make(parts, name, Kind.SYMLINK, make, metadata)

    def make_special(
        self, parts: Parts, name: bytes, kind: Kind, metadata: Metadata, device: int = 0
    ) -> Missed | None:
        """Make a FIFO, a socket, or a device node (root only: ``PermissionError``)."""
        mode = _FORMATS[kind] | 0o600

        def make(new: bytes, above: int) -> None:
            os.mknod(new, mode, device, dir_fd=above)

        return self._make(parts, name, kind, make, metadata)

    def make_link(
        self, parts: Parts, name: bytes, to_parts: Parts, to_name: bytes, kind: Kind = Kind.FILE
    ) -> bool:
        """Make another name for what was restored; false when what stands there is kept.

        ``OSError`` with ``EMLINK`` or ``EXDEV`` (a mount point in the target): restore a copy.
        """
        above, to_name = self._place(to_parts, to_name)
        source = os.dup(above)  # stays open, however many directories the other way has

        def make(new: bytes, above: int) -> None:
            os.link(to_name, new, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)

        try:
            return self._make(parts, name, kind, make, None) is not None
        finally:
            os.close(source)

    def _make(
        self,
        parts: Parts,
        name: bytes,
        kind: Kind,
        make: Callable[[bytes, int], None],
        metadata: Metadata | None,
    ) -> Missed | None:
        """Make an entry, under a temporary name where one is replaced, and set its metadata."""
        above, name = self._place(parts, name)
        made = name
        try:
            make(name, above)
        except FileExistsError as error:
            if not self._makes_room(above, name, kind, error):
                return None
            made = _temporary_name()
            make(made, above)
        try:
            missed = self._apply_at(above, made, kind, metadata) if metadata else NOTHING_MISSED
            if made != name:
                os.rename(made, name, src_dir_fd=above, dst_dir_fd=above)
        except BaseException:
            os.unlink(made, dir_fd=above)
            raise
        if made != name and metadata is None:
            # Of two names of one file, rename(2) keeps both.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(made, dir_fd=above)
        return missed

    def _apply_at(self, above: int, name: bytes, kind: Kind, metadata: Metadata) -> Missed:
        """Set the metadata of what cannot be opened, without a way to be led elsewhere."""
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=above)
        try:
            status = os.fstat(descriptor)
            # A second link: somebody has put in its place what was there before.
            if kind_of(status.st_mode) is not kind or status.st_nlink > 1:
                raise OSError(errno.ESTALE, "replaced while it was restored", name)
            return apply_metadata(
                b"/proc/self/fd/%d" % descriptor,
                metadata,
                self._rights,
                link=kind is Kind.SYMLINK,
                clean=self.ticket.clean,
                owner=owner_of(status),
            )
        finally:
            os.close(descriptor)

    # Checks

    def _place(self, parts: Parts, name: bytes) -> tuple[int, bytes]:
        """An open directory and a name that is safe to use in it."""
        return self.directory(parts), self._checked(parts, name)

    def _checked(self, parts: Parts, name: bytes) -> bytes:
        if not is_entry_name(name):
            path = printable(b"/".join((*parts, name)))
            raise HostileEntry(path, "that is no name of a file, and may lead out of the target")
        return name

    def _makes_room(
        self,
        above: int,
        name: bytes,
        kind: Kind,
        error: OSError,
        size: int | None = None,
        mtime_ns: int | None = None,
        *,
        replace: bool = True,
    ) -> bool:
        """Whether what stands there is to be replaced (else kept). Raises when it may not be."""
        existing = os.stat(name, dir_fd=above, follow_symlinks=False)
        overwrite = self.ticket.overwrite if replace else None
        decision = decide(overwrite, existing, kind, size, mtime_ns)
        if decision is Decision.REFUSE:
            raise OSError(
                errno.EEXIST, f"a {_WORDS[kind_of(existing.st_mode)]} stands in its place", name
            ) from error
        return decision is Decision.REPLACE

    def _remove(self, file: NewFile) -> None:
        above, name = self._place(file.parts, file.temporary)
        remove_begun(above, name, file)


def _temporary_name() -> bytes:
    return TEMPORARY_PREFIX + secrets.token_hex(8).encode("ascii")
