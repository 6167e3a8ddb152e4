"""What a verification is asked for, and what it found."""

from attrs import define, frozen

from obnam.model.ids import GenerationId


@frozen
class VerifySettings:
    """The generation, and how much of it: about so many percent of its data, chosen at random."""

    generation: GenerationId
    sample_percent: float = 100.0


@define
class Verified:
    """What was checked so far: files, their bytes, and chunks fetched for them.

    Each warning was told to the progress: a file that is not whole (``damaged_files``), or an entry
    that makes no sense. ``missing_chunks`` and ``damaged_chunks`` are counted once for each time
    they were fetched, which is once for most.
    """

    files: int = 0
    size_bytes: int = 0
    chunks: int = 0
    missing_chunks: int = 0
    damaged_chunks: int = 0
    damaged_files: int = 0
    warnings: int = 0
    duration_s: float = 0.0
