"""The keyring on the server, in use: joining a repository by a passphrase, and changing slots.

Someone else may change the keyring at the same time; the server then refuses ours, and whatever
was to be done is done once more, on the new one.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, frozen

from obnam.crypto.key_mark import is_mark, is_marked, new_mark
from obnam.crypto.keyring import Cost, new_slot, open_keyring
from obnam.crypto.keys import MasterKey
from obnam.errors import AccessDenied, ObnamError, RequestRefused, UnknownReference, UsageError
from obnam.pool.thread import OwnThread
from obnam.wire.interfaces import IRepository
from obnam.wire.messages import KeyringSlot

CHANGES_MAX = 5
"""So often a change is tried again; more is no coincidence."""


class Passphrases(Protocol):
    """Asks for the passphrase; ``new``: for one that is made up now. ``None``: there is to be none.

    Called on the reactor's thread, and may wait for a person: nothing else goes on then.
    """

    def __call__(self, *, new: bool) -> str | None:
        """The passphrase. Raises ``UsageError`` when there is nobody to ask."""


@define(eq=False, repr=False)
class NoKeyForRepository(ObnamError):
    """The repository has a key and no passphrase: the key is on its other clients only.

    ``is_empty``: nothing was backed up yet.
    """

    is_empty: bool

    def __str__(self) -> str:
        told = (
            "the repository has a key already, and no passphrase opens it: its keyring is empty. "
            "Run `obnam key add` on a computer that can use it, and this again; or copy "
            "secrets.yaml from there (if it was revoked: with the `token` that is in "
            "secrets.joining here)"
        )
        if self.is_empty:
            told += ". If there is no such computer: it has no backups, destroy it and begin again"
        return told


class KeyNote(Protocol):
    """Keeps a key that is made for a repository, should `init` be cut short before it is saved."""

    def load(self) -> MasterKey | None:
        """What was kept before; ``None``: nothing."""

    def save(self, master: MasterKey) -> None:
        """Keep it, durably. Raises ``ConfigurationError``."""


@frozen
class Joined:
    """The repository's master key; ``protected``: a passphrase brings it back."""

    master: MasterKey
    protected: bool


@define
class Slots:
    """The keyring of one repository. New slots have the label and the cost."""

    _repository: IRepository
    _thread: OwnThread
    _label: str
    _cost: Cost

    async def join(self, ask: Passphrases, note: KeyNote) -> Joined:
        """The key of the repository: out of its keyring, or made now if it is new.

        Of several computers that join a new repository at the same time, one makes the key: whose
        keyring comes first. Raises `WrongPassphrase`, `NoKeyForRepository`.
        """
        for _ in range(CHANGES_MAX):
            found = await self._repository.get_keyring()
            if _with_passphrase(found.slots):
                passphrase = ask(new=False)
                if passphrase is None:
                    raise UsageError(
                        "the repository has a keyring: its passphrase is needed to join it"
                    )
                master = await self._thread.call(open_keyring, found.slots, passphrase)
                return Joined(master, protected=True)
            kept = note.load() if found.slots else None
            if kept is not None and is_marked(found.slots, kept):
                return Joined(kept, protected=False)  # Cut short before, or the answer was lost.
            is_empty = (await self._repository.describe()).generation_count == 0
            if found.slots or not is_empty:
                raise NoKeyForRepository(is_empty)
            passphrase = ask(new=True)
            master = MasterKey.generate()
            slots = [new_mark(master)]
            if passphrase is None:
                note.save(master)
            else:
                slots.append(await self._new(master, passphrase, self._label))
            try:
                await self._repository.put_keyring(slots, found.etag)
            except RequestRefused:
                continue  # Another computer was quicker: its key is the repository's.
            return Joined(master, protected=passphrase is not None)
        raise _changing()

    async def check_add(self) -> None:
        """Whether `add` would be refused: before somebody is asked for a passphrase in vain."""
        await self._check_scope("backup", "manage")

    async def check_replace(self, name: str | None) -> None:
        """Whether `replace` would be."""
        await self._check_scope("manage")
        chosen(await self.list(), name)

    async def _check_scope(self, *scopes: str) -> None:
        description = await self._repository.describe()
        if not set(scopes) & set(description.scopes):
            raise AccessDenied(
                "the server",
                f"to change the keyring so needs the scope {' or '.join(scopes)}. Ask the "
                f"administrator to invite a computer that may: `obnam-server client add NAME "
                f"--repository {description.repository} --scope restore --scope {scopes[-1]}`",
            )

    async def list(self) -> Sequence[KeyringSlot]:
        """All slots that a passphrase opens."""
        return _with_passphrase((await self._repository.get_keyring()).slots)

    async def add(self, master: MasterKey, passphrase: str) -> KeyringSlot:
        """One more passphrase. Gives its slot."""
        slot = await self._new(master, passphrase, self._label)
        await self._change(lambda slots: [*slots, slot])
        return slot

    async def replace(self, name: str | None, master: MasterKey, passphrase: str) -> KeyringSlot:
        """Another passphrase in the place of the one in slot ``name`` (``None``: the only one).

        Its label stays.
        """
        slot = await self._new(master, passphrase, chosen(await self.list(), name).label)

        def changed(slots: Sequence[KeyringSlot]) -> list[KeyringSlot]:
            old = chosen(slots, name)
            return [slot if each is old else each for each in slots]

        await self._change(changed)
        return slot

    async def remove(self, name: str) -> KeyringSlot:
        """Take the slot away. Raises `UsageError` for the last one."""
        gone: list[KeyringSlot] = []

        def changed(slots: Sequence[KeyringSlot]) -> list[KeyringSlot]:
            gone[:] = [chosen(slots, name)]
            if len(_with_passphrase(slots)) == 1:
                raise UsageError("this is the last slot: add another passphrase before it goes")
            return [each for each in slots if each is not gone[0]]

        await self._change(changed)
        return gone[0]

    async def _new(self, master: MasterKey, passphrase: str, label: str) -> KeyringSlot:
        return await self._thread.call(new_slot, master, passphrase, label, self._cost)

    async def _change(
        self, changed: Callable[[Sequence[KeyringSlot]], Sequence[KeyringSlot]]
    ) -> None:
        wanted: Sequence[KeyringSlot] | None = None
        for _ in range(CHANGES_MAX):
            found = await self._repository.get_keyring()
            if wanted is not None and list(wanted) == list(found.slots):
                return  # It had gone through; only the answer was lost.
            wanted = changed(found.slots)
            try:
                await self._repository.put_keyring(wanted, found.etag)
            except RequestRefused:
                if (await self._repository.get_keyring()).etag == found.etag:
                    raise  # It was not that.
                continue
            return
        raise _changing()


def chosen(slots: Sequence[KeyringSlot], name: str | None) -> KeyringSlot:
    """The slot with this label, or whose id begins so. Raises `UnknownReference`."""
    slots = _with_passphrase(slots)
    if not slots:
        raise UnknownReference(name or "SLOT", "there is no passphrase yet; `obnam key add`")
    if name is None:
        if len(slots) != 1:
            raise UnknownReference("SLOT", "say which one; `obnam key list` shows them")
        return slots[0]
    found = [each for each in slots if each.label == name or each.slot.startswith(name)]
    if len(found) != 1:
        problem = "no such slot" if not found else "more than one slot is called so; give its id"
        raise UnknownReference(name, f"{problem}; `obnam key list` shows them")
    return found[0]


def _with_passphrase(slots: Sequence[KeyringSlot]) -> list[KeyringSlot]:
    return [each for each in slots if not is_mark(each)]


def _changing() -> RequestRefused:
    return RequestRefused("the server", "the keyring is being changed all the time; try later")
