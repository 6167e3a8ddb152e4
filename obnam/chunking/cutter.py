"""Where a stream of bytes is cut into pieces, by its content (FastCDC 2020).

The cutter is fed buffers and says where to cut; it opens nothing. The same bytes from the start
of a stream give the same cuts, however they are fed. Known positions stand in
``tests/vectors/cutter.json``: moving them would cost every user a full upload.

Xia et al., "The Design of Fast Content-Defined Chunking for Data Deduplication Based Storage
Systems", IEEE TPDS 2020; normalised chunking of level 2.
"""

from pyfastcdc import FastCDC

KIB = 1 << 10
MINIMUM = 384 * KIB
AVERAGE = 512 * KIB
MAXIMUM = 2048 * KIB
"""Sizes of pieces in bytes. The last piece of a stream may be smaller than the minimum, which is
what ``docs/decisions/0006-three-eighths-of-a-mebibyte.md`` is about."""

SEED_BITS = 63


class Cutter:
    """Cuts streams. Holds no state between calls.

    ``seed`` (0 <= seed < 2**63; 0: the public table as it is) moves the cut points, so that they
    do not show which well-known file was cut. That is weak keying: pyfastcdc XORs this one
    constant into a public table, of which its masks look at the lowest 48 bits only (see
    ``docs/threat-model.md``). ``average`` is nominal: measured means are 1.3 times it.
    """

    def __init__(
        self,
        seed: int,
        minimum: int = MINIMUM,
        average: int = AVERAGE,
        maximum: int = MAXIMUM,
    ) -> None:
        if not 0 <= seed < 1 << SEED_BITS:
            raise ValueError(f"the seed has at most {SEED_BITS} bits")
        self.maximum = maximum
        self._cdc = FastCDC(
            average,
            min_size=minimum,
            max_size=maximum,
            normalized_chunking=2,
            seed=seed,
        )

    def cut(self, data: memoryview, final: bool) -> list[int]:
        """The end offsets of the pieces of ``data``, in order; ``data`` begins at a cut.

        When ``final``, the stream ends with ``data`` and the last offset is its length.
        Otherwise only cuts are given that what follows cannot move; what lies behind the last of
        them (less than ``maximum``) is to be put before the next buffer. Empty data has no piece.
        """
        ends = [piece.offset + piece.length for piece in self._cdc.cut_buf(data)]
        if ends and not final:
            last = ends[-1] - (ends[-2] if len(ends) > 1 else 0)
            if last < self.maximum:
                ends.pop()
        return ends
