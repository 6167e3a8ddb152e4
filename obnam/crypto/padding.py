"""How long a sealed envelope is made, so that its length says less about its content.

PADMÉ: Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted
Files and Communication with PURBs", Proceedings on Privacy Enhancing Technologies 2019(4),
section 4. Why data stored as it is gets less: ``docs/decisions/0001-*.md``.
"""

STORED_STEP = 1024
"""Granularity in bytes of envelopes whose data is stored as it is."""


def padded_length(length: int) -> int:
    """PADMÉ: ``length`` rounded up so that only about log2(log2(length)) bits of it show.

    At most 12 % longer, less the longer it is (under 3.2 % from 64 KiB, 1.6 % on average).
    """
    if length < 2:
        return length
    exponent = length.bit_length() - 1
    low_bits = exponent - exponent.bit_length()
    mask = (1 << low_bits) - 1 if low_bits > 0 else 0
    return (length + mask) & ~mask


def stored_length(length: int) -> int:
    """For data that did not shrink: the next multiple of 1024, or PADMÉ where that is less."""
    return min(padded_length(length), -(-length // STORED_STEP) * STORED_STEP)
