"""Signatures over manifests, and those of servers: Ed25519 by libsodium.

Imported only where something is signed or checked: `nacl.bindings` is slow to import.
"""

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from obnam.crypto.keys import RepositoryKeys
from obnam.errors import SealBroken

SIGNATURE_BYTES = 64
_DOMAIN = b"obnam signature 1"
CONTEXT_MAX = 255


class Signer:
    """Signs, and checks signatures, with the repository's key. All its clients share it."""

    def __init__(self, keys: RepositoryKeys) -> None:
        self._public, self._secret = crypto_sign_seed_keypair(keys.signing_seed)

    def sign(self, context: bytes, message: bytes) -> bytes:
        """64 bytes. ``context`` (at most 255 bytes) says what is signed, as in ``b"manifest"``."""
        return crypto_sign(_framed(context, message), self._secret)[:SIGNATURE_BYTES]

    def verify(self, context: bytes, message: bytes, signature: bytes) -> None:
        """Raises `SealBroken` unless ``signature`` was made for this context and message."""
        what = f"the signature of {context.decode('ascii', 'replace')}"
        if len(signature) != SIGNATURE_BYTES:
            raise SealBroken(what)
        try:
            crypto_sign_open(bytes(signature) + _framed(context, message), self._public)
        except BadSignatureError as error:
            raise SealBroken(what) from error


def is_signed_by(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message``, as it is, was made by somebody else's key."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def _framed(context: bytes, message: bytes) -> bytes:
    if len(context) > CONTEXT_MAX:
        raise ValueError("the context of a signature is too long")
    return b"%b%c%b%b" % (_DOMAIN, len(context), context, message)
