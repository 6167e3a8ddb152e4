"""What a restore is asked for, and what it says it did."""

from attrs import define, frozen

from obnam.live.overwrite import Overwrite
from obnam.model.ids import GenerationId


@frozen
class RestoreSettings:
    """The generation, and the directory that it goes into: each entry below its absolute path.

    ``paths`` (absolute) select entries, and subtrees; none: everything. Without ``overwrite`` the
    target must be new or empty. ``verify``: read everything back once more from the file system.
    """

    generation: GenerationId
    target: bytes
    paths: tuple[bytes, ...] = ()
    overwrite: Overwrite | None = None
    verify: bool = False
    dry_run: bool = False


@define
class Restored:
    """What was restored so far; of a dry run: what would be.

    ``files`` (with hard links) and their ``size_bytes``; ``others`` are symbolic links and special
    files; ``kept`` stood in the target, and were left as ``--overwrite`` asks for. Each warning was
    told to the progress; ``lost`` of them are entries that the generation has and that are not in
    the target as they were.
    """

    files: int = 0
    size_bytes: int = 0
    directories: int = 0
    others: int = 0
    kept: int = 0
    warnings: int = 0
    lost: int = 0
    duration_s: float = 0.0
