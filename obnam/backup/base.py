"""The generation that a backup starts from, and the one that the next backup will start from."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import define, frozen

from obnam.errors import ConfigurationError, DamagedGeneration, ManifestLost
from obnam.generation.nascent import NascentGeneration
from obnam.history_errors import BadReceipt
from obnam.pool.thread import OwnThread
from obnam.repository.generations import Generations
from obnam.repository.opening import OpenedGeneration
from obnam.repository.trust import Link
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import RepositoryDescription


@frozen
class Base:
    """The generation that a new one starts from: its manifest, and its database's file."""

    opened: OpenedGeneration
    path: Path


@define
class Bases:
    """Those of one client. ``warn`` is told of what a backup can go on without."""

    _repository: IRepository
    _generations: Generations
    _thread: OwnThread
    _warn: Callable[[str], None]

    async def latest(
        self,
    ) -> tuple[RepositoryDescription, OpenedGeneration | None, Link | None]:
        """What the server says of us, our latest generation, and the link that the new one gets.

        A latest one whose manifest is lost is followed all the same, if it is the one that is
        remembered here: then there is a link to it, and nothing to begin from.
        """
        description = await self._repository.describe()
        await self._generations.history.meet(description)
        client, committed = description.client, description.latest
        if committed is None:
            latest = None
        else:
            try:
                latest = self._generations.open(committed)
            except ManifestLost as error:
                remembered = await self._generations.history.remembered(client)
                if remembered is None or remembered.generation != error.generation:
                    problem = (
                        f"{error.problem}; no backup can come after it. Have this computer invited "
                        f"under another name, into the same repository, and join again"
                    )
                    raise DamagedGeneration(error.generation, problem) from error
                self._warn(f"{error}; all files are read again")
                return description, None, remembered
        for warning in await self._generations.history.check(description, latest):
            self._warn(warning)
        if self._generations.history.unwritten is not None:
            raise self._generations.history.unwritten
        return description, latest, None if latest is None else latest.shown().link

    async def of(self, latest: OpenedGeneration | None) -> Base | None:
        """The latest generation with its database; ``None``: start with nothing."""
        if latest is None:
            return None
        try:
            return Base(latest, await self._generations.database(latest))
        except DamagedGeneration as error:
            self._warn(f"{error}; all files are read again")
            return None

    async def nascent(self, previous: Link | None, base: Base | None) -> NascentGeneration:
        """The generation behind ``previous``: a copy of its base, or empty.

        When that fails there is nothing to begin with, and no file of either is left.
        """
        sequence = 1 if previous is None else previous.sequence + 1
        files = [] if base is None else [base.path]
        try:
            path = self._generations.temporary()
            files.append(path)
            if base is None:
                return await self._thread.call(NascentGeneration.create, path, sequence)
            await self._thread.call(shutil.copyfile, base.path, path)
            return await self._thread.call(NascentGeneration.begin_from, path, sequence)
        except BaseException:
            await self._thread.call(_remove, files)  # behind what may still write to them
            raise

    async def kept(self, old: Base | None, new: Base) -> Base:
        """Remember what was committed; its database is cached for the next backup.

        It is on the server, whatever goes wrong here: that is no failure any more. But a server
        that does not vouch for it cannot be relied on: ``BadReceipt``.
        """
        manifest = new.opened.manifest
        history = self._generations.history
        try:
            await history.remember(manifest.client, new.opened.shown().link)
            await history.keep_receipt(new.opened)
            await self._generations.keep(manifest.generation, new.path)
        except (OSError, ConfigurationError) as error:
            name = manifest.generation
            problem = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
            self._warn(f"generation {name} is committed, but not noted here: {problem}")
        except BadReceipt:
            new.path.unlink(missing_ok=True)
            raise
        if old is not None:
            old.path.unlink(missing_ok=True)
        return new


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
