"""Sealing: what was sealed opens; anything else is `SealBroken`, and nothing else is raised."""

from concurrent.futures import ThreadPoolExecutor

import nacl.bindings
import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.crypto.envelope import Compression
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer
from obnam.crypto.seal import (
    Opener,
    Sealer,
    Suite,
    best_suite,
    sealed_length_max,
    suite_for,
)
from obnam.crypto.sodium import CIPHERS, NotAuthentic
from obnam.errors import SealBroken
from obnam.model.chunk import ChunkKind
from obnam.model.ids import ChunkId

KEYS = RepositoryKeys.derive(MasterKey(bytes(range(32))))
NAMER = Namer(KEYS)
OPENER = Opener(KEYS)
SEALERS = {suite: Sealer(KEYS, suite, Compression(1)) for suite in Suite}
PLAIN_SEALERS = {suite: Sealer(KEYS, suite, Compression(None)) for suite in Suite}
KINDS = [ChunkKind.DATA, ChunkKind.GENERATION_DATABASE, ChunkKind.MANIFEST]

suites = st.sampled_from(list(Suite))
kinds = st.sampled_from(KINDS)
plaintexts = st.builds(lambda part, times: part * times, st.binary(max_size=200), st.integers(1, 9))


@given(kinds, suites, st.booleans(), plaintexts)
def test_roundtrip(kind: ChunkKind, suite: Suite, compressed: bool, plaintext: bytes) -> None:
    chunk_id = NAMER.name(kind, plaintext)
    sealer = (SEALERS if compressed else PLAIN_SEALERS)[suite]
    sealed = sealer.seal(kind, chunk_id, memoryview(plaintext))
    assert len(sealed) <= sealed_length_max(len(plaintext))
    assert OPENER.open(kind, chunk_id, sealed) == plaintext
    assert OPENER.open(kind, chunk_id, memoryview(bytearray(sealed))) == plaintext


@given(kinds, suites, st.booleans(), plaintexts)
def test_opening_in_place_takes_no_more_memory_than_the_sealed_chunk_has(
    kind: ChunkKind, suite: Suite, compressed: bool, plaintext: bytes
) -> None:
    chunk_id = NAMER.name(kind, plaintext)
    sealed = (SEALERS if compressed else PLAIN_SEALERS)[suite].seal(kind, chunk_id, plaintext)
    slab = memoryview(bytearray(b"before" + sealed + b"behind"))
    opened = OPENER.open_in_place(kind, chunk_id, slab[6:-6])
    assert opened == plaintext
    assert bytes(slab[:6]) + bytes(slab[-6:]) == b"beforebehind"
    if not compressed:
        assert isinstance(opened, memoryview)
        assert opened.obj is slab.obj


@given(suites, st.binary(min_size=1, max_size=100), st.data())
def test_any_flipped_bit_breaks_the_seal(
    suite: Suite, plaintext: bytes, data: st.DataObject
) -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, plaintext)
    sealed = bytearray(SEALERS[suite].seal(ChunkKind.DATA, chunk_id, plaintext))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.DATA, chunk_id, sealed)


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("at", range(4))
def test_no_other_format_suite_or_epoch_is_taken(suite: Suite, at: int) -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, b"hello")
    sealed = bytearray(SEALERS[suite].seal(ChunkKind.DATA, chunk_id, b"hello"))
    for value in set(range(256)) - {sealed[at]}:
        sealed[at] = value
        with pytest.raises(SealBroken):
            OPENER.open(ChunkKind.DATA, chunk_id, sealed)


@pytest.mark.parametrize("suite", list(Suite))
def test_every_truncation_and_extension_breaks_the_seal(suite: Suite) -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, b"hello")
    sealed = SEALERS[suite].seal(ChunkKind.DATA, chunk_id, b"hello")
    for length in range(len(sealed)):
        with pytest.raises(SealBroken):
            OPENER.open(ChunkKind.DATA, chunk_id, sealed[:length])
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.DATA, chunk_id, sealed + b"\0")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_sealed_chunk(data: bytes) -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, b"")
    for prefix in (b"", b"\x01\x01\0\0", b"\x01\x02\0\0"):
        with pytest.raises(SealBroken):
            OPENER.open(ChunkKind.DATA, chunk_id, prefix + data)


@pytest.mark.parametrize("suite", list(Suite))
def test_a_chunk_does_not_pass_for_another_or_for_another_kind(suite: Suite) -> None:
    names = {text: NAMER.name(ChunkKind.MANIFEST, text) for text in (b"one", b"two")}
    sealed = SEALERS[suite].seal(ChunkKind.MANIFEST, names[b"one"], b"one")
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.MANIFEST, names[b"two"], sealed)
    # the same sealing key, so it is the associated data that tells these kinds apart
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.GENERATION_DATABASE, names[b"one"], sealed)
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.DATA, names[b"one"], sealed)


@pytest.mark.parametrize("suite", list(Suite))
def test_a_chunk_sealed_under_a_name_not_its_own_is_refused(suite: Suite) -> None:
    """Even by someone who has the sealing key: the name is checked against the content."""
    wrong = NAMER.name(ChunkKind.DATA, b"something else")
    sealed = SEALERS[suite].seal(ChunkKind.DATA, wrong, b"content")
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.DATA, wrong, sealed)


def test_another_repository_s_chunk_does_not_open() -> None:
    other = RepositoryKeys.derive(MasterKey(bytes(32)))
    chunk_id = Namer(other).name(ChunkKind.DATA, b"x")
    sealed = Sealer(other, Suite.AEGIS256, Compression()).seal(ChunkKind.DATA, chunk_id, b"x")
    with pytest.raises(SealBroken):
        OPENER.open(ChunkKind.DATA, chunk_id, sealed)


def test_the_same_chunk_is_sealed_differently_each_time() -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, b"x")
    for sealer in SEALERS.values():
        assert len({sealer.seal(ChunkKind.DATA, chunk_id, b"x") for _ in range(20)}) == 20


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("length", [0, 1, 1000, 1019, 1020, 70_000])
def test_seal_into_writes_at_the_start_of_what_it_is_given(suite: Suite, length: int) -> None:
    plaintext = bytes(range(251)) * (length // 251) + bytes(length % 251)
    chunk_id = NAMER.name(ChunkKind.DATA, plaintext)
    room = sealed_length_max(length)
    slab = bytearray(b"\xee" * (room + 200))
    written = SEALERS[suite].seal_into(
        ChunkKind.DATA, chunk_id, plaintext, memoryview(slab)[100 : 100 + room]
    )
    assert OPENER.open(ChunkKind.DATA, chunk_id, slab[100 : 100 + written]) == plaintext
    assert slab[:100] == slab[100 + room :] == b"\xee" * 100


def test_too_little_room_and_unwritable_room_are_refused() -> None:
    chunk_id = NAMER.name(ChunkKind.DATA, b"x")
    room = sealed_length_max(1)
    for sealer in SEALERS.values():
        with pytest.raises(ValueError, match="room"):
            sealer.seal_into(ChunkKind.DATA, chunk_id, b"x", memoryview(bytearray(room - 1)))
        with pytest.raises(TypeError):
            sealer.seal_into(ChunkKind.DATA, chunk_id, b"x", memoryview(bytes(room)))


def test_a_keyring_slot_is_not_sealed_under_repository_keys() -> None:
    chunk_id = ChunkId(bytes(33))
    for sealer in SEALERS.values():
        with pytest.raises(ValueError, match="keyring"):
            sealer.seal(ChunkKind.KEYRING_SLOT, chunk_id, b"x")


def test_threads_can_share_a_sealer_and_an_opener() -> None:
    texts = [b"%d, " % n * (n * 500 % 40_000) for n in range(60)]

    def there_and_back(text: bytes) -> bytes:
        chunk_id = NAMER.name(ChunkKind.DATA, text)
        sealed = SEALERS[Suite.AEGIS256].seal(ChunkKind.DATA, chunk_id, text)
        return OPENER.open(ChunkKind.DATA, chunk_id, sealed)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, texts)) == texts


@pytest.mark.parametrize("suite", list(Suite))
def test_encryption_in_place_is_the_library_s_encryption(suite: Suite) -> None:
    """Over every length up to a few of the cipher's blocks."""
    encrypt = {
        Suite.XCHACHA20POLY1305: nacl.bindings.crypto_aead_xchacha20poly1305_ietf_encrypt,
        Suite.AEGIS256: nacl.bindings.crypto_aead_aegis256_encrypt,
    }[suite]
    cipher = CIPHERS[suite]
    nonce, key = bytes(range(cipher.nonce_bytes)), bytes(range(32, 64))
    for length in [*range(200), 4095, 4096, 65_537]:
        message = bytes(n % 253 for n in range(length))
        area = memoryview(bytearray(message + bytes(cipher.tag_bytes)))
        assert cipher.encrypt_in_place(area, length, b"ad", nonce, key) == len(area)
        assert bytes(area) == encrypt(message, b"ad", nonce, key)
        out = memoryview(bytearray(length))
        assert cipher.decrypt_into(out, area, b"ad", nonce, key) == length
        assert bytes(out) == message
        with pytest.raises(NotAuthentic):
            cipher.decrypt_into(out, area, b"da", nonce, key)


@pytest.mark.parametrize("suite", list(Suite))
def test_memory_is_not_overrun(suite: Suite) -> None:
    cipher = CIPHERS[suite]
    nonce, key = bytes(cipher.nonce_bytes), bytes(32)
    area = memoryview(bytearray(100))
    for length, a_nonce, a_key in (
        (101 - cipher.tag_bytes, nonce, key),
        (10, nonce[1:], key),
        (10, nonce, key[1:]),
    ):
        with pytest.raises(ValueError, match="length"):
            cipher.encrypt_in_place(area, length, b"", a_nonce, a_key)
    ciphertext = bytes(50 + cipher.tag_bytes)
    with pytest.raises(ValueError, match="length"):
        cipher.decrypt_into(area[:49], ciphertext, b"", nonce, key)
    with pytest.raises(NotAuthentic):
        cipher.decrypt_into(area, ciphertext[: cipher.tag_bytes - 1], b"", nonce, key)


@pytest.mark.parametrize(
    ("cpuinfo", "suite"),
    [
        ("processor\t: 0\nflags\t\t: fpu aes avx\n", Suite.AEGIS256),
        ("processor\t: 0\nflags\t\t: fpu vaesx avx\n", Suite.XCHACHA20POLY1305),
        ("Features\t: fp asimd aes pmull\n", Suite.AEGIS256),
        ("Features\t: fp asimd\n", Suite.XCHACHA20POLY1305),
        ("", Suite.XCHACHA20POLY1305),
    ],
)
def test_the_suite_follows_the_processor(cpuinfo: str, suite: Suite) -> None:
    assert suite_for(cpuinfo) is suite


def test_this_machine_has_a_suite() -> None:
    assert best_suite() in CIPHERS
