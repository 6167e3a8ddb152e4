"""Signatures: bound to key, context and message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.signing import Signer
from obnam.errors import SealBroken

SIGNER = Signer(RepositoryKeys.derive(MasterKey(bytes(32))))


@given(st.binary(max_size=20), st.binary(max_size=500))
def test_what_was_signed_verifies(context: bytes, message: bytes) -> None:
    SIGNER.verify(context, message, SIGNER.sign(context, message))


@given(st.integers(0, 64 * 8 - 1))
def test_a_flipped_bit_does_not(bit: int) -> None:
    signature = bytearray(SIGNER.sign(b"manifest", b"hello"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        SIGNER.verify(b"manifest", b"hello", bytes(signature))


@pytest.mark.parametrize(
    ("context", "message"),
    [(b"manifest", b"hullo"), (b"manifesth", b"ello"), (b"manifes", b"thello"), (b"", b"hello")],
)
def test_another_context_or_message_does_not(context: bytes, message: bytes) -> None:
    signature = SIGNER.sign(b"manifest", b"hello")
    with pytest.raises(SealBroken):
        SIGNER.verify(context, message, signature)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_has_64_bytes(length: int) -> None:
    with pytest.raises(SealBroken):
        SIGNER.verify(
            b"manifest", b"hello", SIGNER.sign(b"manifest", b"hello").ljust(length)[:length]
        )


def test_another_key_does_not() -> None:
    other = Signer(RepositoryKeys.derive(MasterKey(bytes([1]) * 32)))
    with pytest.raises(SealBroken):
        other.verify(b"manifest", b"hello", SIGNER.sign(b"manifest", b"hello"))


def test_a_context_is_short() -> None:
    SIGNER.sign(b"x" * 255, b"")
    with pytest.raises(ValueError, match="too long"):
        SIGNER.sign(b"x" * 256, b"")


def test_the_signer_shows_no_secret() -> None:
    assert "_secret" not in repr(SIGNER)
