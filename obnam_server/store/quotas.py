"""Quotas: how many bytes the segments of a repository may have together.

For the administrator: `show` and `set_quota`. What keeps uploads within it is
`reservations`, and `obnam_server.room`.
"""

import re
from typing import Any

from attrs import frozen

from obnam.errors import NotFound
from obnam.model.ids import RepositoryName
from obnam.wire.limits import MIB, QUOTA_WARNING_SHARE
from obnam_server.store.errors import QuotaBelowUse
from obnam_server.store.store import Store

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_UNITS: dict[str, int] = {
    unit: base**power
    for base, units in ((1000, ("B", "kB", "MB", "GB", "TB", "PB")), (1024, _BINARY))
    for power, unit in enumerate(units)
}


COMMITS_SHARE = 1 / 16
COMMITS_LEAST_BYTES = 64 * MIB
"""By how much commits may exceed a quota: by this share of it, and by so many bytes in any case. A
backup whose chunks are stored shall be one; but commits alone must not fill the disk."""


@frozen
class Quota:
    """Use and limit of a repository, in bytes. ``quota_bytes`` ``None``: no limit."""

    used_bytes: int
    quota_bytes: int | None

    @property
    def is_near(self) -> bool:
        """Whether it is so full that clients warn of it."""
        return self.quota_bytes is not None and (
            self.used_bytes >= QUOTA_WARNING_SHARE * self.quota_bytes
        )

    @property
    def is_beyond(self) -> bool:
        """Whether it is so full that not even commits are taken."""
        if self.quota_bytes is None:
            return False
        beyond = max(COMMITS_LEAST_BYTES, int(COMMITS_SHARE * self.quota_bytes))
        return self.used_bytes > self.quota_bytes + beyond

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"used_bytes": self.used_bytes, "quota_bytes": self.quota_bytes}


def show(store: Store, name: RepositoryName) -> Quota:
    """WRITER. Use and quota of a repository. `NotFound`."""
    if name not in store.repositories():
        raise NotFound(f"repository {name}")
    return Quota(store.repository(name).used_bytes(), store.settings.quota(name))


def set_quota(
    store: Store, name: RepositoryName, quota_bytes: int | None, *, force: bool = False
) -> Quota:
    """WRITER. Set the quota (bytes), or lift it. `NotFound`, `QuotaBelowUse` unless forced.

    ``ValueError``: not above 0.
    """
    found = show(store, name)
    if quota_bytes is not None and quota_bytes < found.used_bytes and not force:
        raise QuotaBelowUse(name, quota_bytes, found.used_bytes)
    store.settings.set_quota(name, quota_bytes)
    return Quota(found.used_bytes, quota_bytes)


def parse_size(text: str) -> int:
    """Bytes, from what people write: ``500GB``, ``1.5 TiB``, ``1000000``. ``ValueError``."""
    found = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,6}))?\s*([A-Za-z]*)", text.strip(), re.ASCII)
    units = {unit.lower(): size for unit, size in _UNITS.items()}
    if found is None or (found[3] or "B").lower() not in units:
        raise ValueError(f"write a size like 500GB or 1.5TiB, not {text!r}")
    fraction = found[2] or ""
    number = int(found[1] + fraction)
    size = units[(found[3] or "B").lower()] * number // int(10 ** len(fraction))
    if not 0 < size < 1 << 63:
        raise ValueError(f"{text!r} is no size that a repository can have")
    return size
