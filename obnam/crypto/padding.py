"""How long a sealed envelope is made, so that its length says less about its content.

PADMÉ: Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted
Files and Communication with PURBs", Proceedings on Privacy Enhancing Technologies 2019(4),
section 4. Why ours is finer, and for data stored as it is finer still:
``docs/decisions/0001-*.md``.
"""

FINER_BITS = 2
"""Significant bits of a length that are kept beyond those of PADMÉ."""

STORED_STEP = 256
"""Granularity in bytes of envelopes whose data is stored as it is."""


def padded_length(length: int) -> int:
    """PADMÉ with two bits more: ``length`` rounded up so that only few of its bits show.

    At most 3.2 % longer, less the longer it is (under 0.8 % from 64 KiB, 0.4 % on average).
    """
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length() - FINER_BITS
    mask = (1 << low_bits) - 1 if low_bits > 0 else 0
    return (length + mask) & ~mask


def stored_length(length: int) -> int:
    """For data that did not shrink: the next multiple of 256, or as above where that is less."""
    return min(padded_length(length), -(-length // STORED_STEP) * STORED_STEP)
