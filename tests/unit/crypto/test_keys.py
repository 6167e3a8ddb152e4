"""Keys: derived, told apart, carried to workers, and never printed."""

import pickle

import pytest

from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.model.chunk import ChunkKind


def test_a_master_key_is_random_and_has_32_bytes() -> None:
    made = {MasterKey.generate().secret for _ in range(5)}
    assert len(made) == 5
    assert {len(secret) for secret in made} == {32}


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_master_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        MasterKey(bytes(length))


def test_every_purpose_has_its_own_key() -> None:
    keys = RepositoryKeys.derive(MasterKey(bytes(32)))
    secrets = [*keys.id_keys.values(), keys.data, keys.metadata, keys.signing_seed]
    assert len(secrets) == len(ChunkKind) + 3
    assert len(set(secrets)) == len(secrets)
    assert not any(secret.hex().startswith(keys.fingerprint) for secret in secrets)


def test_another_master_key_gives_other_keys() -> None:
    one, two = (RepositoryKeys.derive(MasterKey(bytes([n]) * 32)) for n in (1, 2))
    assert one.data != two.data
    assert one.fingerprint != two.fingerprint
    assert one.cutter_seed != two.cutter_seed


def test_no_secret_is_shown() -> None:
    master = MasterKey(b"\xab" * 32)
    keys = RepositoryKeys.derive(master)
    shown = f"{master!r} {master} {keys!r} {keys}"
    for secret in (
        master.secret,
        keys.data,
        keys.metadata,
        keys.signing_seed,
        *keys.id_keys.values(),
    ):
        assert secret.hex()[:8] not in shown
        assert repr(secret)[2:10] not in shown
    assert str(keys.cutter_seed) not in shown


def test_keys_can_be_given_to_workers() -> None:
    keys = RepositoryKeys.derive(MasterKey(bytes(32)))
    assert pickle.loads(pickle.dumps(keys)) == keys


def test_the_sealing_key_depends_on_the_kind() -> None:
    keys = RepositoryKeys.derive(MasterKey(bytes(32)))
    assert keys.sealing_key(ChunkKind.DATA) == keys.data
    assert keys.sealing_key(ChunkKind.GENERATION_DATABASE) == keys.metadata
    assert keys.sealing_key(ChunkKind.MANIFEST) == keys.metadata
    with pytest.raises(ValueError, match="keyring"):
        keys.sealing_key(ChunkKind.KEYRING_SLOT)
