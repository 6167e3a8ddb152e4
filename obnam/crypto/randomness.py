"""The one place where random bytes are made."""

import os


def random_bytes(count: int) -> bytes:
    """``count`` bytes from the kernel's generator, fit for keys, nonces and salts."""
    return os.urandom(count)
