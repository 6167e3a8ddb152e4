"""The second step: frames that the server takes, and that open again."""

from pathlib import Path

import pytest

from obnam.backup.batches import BUNDLE_FILE_MAX
from obnam.backup.pipeline import PLAINTEXT_SLAB_BYTES
from obnam.chunking.cutter import MINIMUM
from obnam.crypto.envelope import Compression
from obnam.crypto.seal import Opener, Suite, sealed_length_max
from obnam.model.chunk import ChunkKind
from obnam.pool.read_files import name_files
from obnam.pool.seal_pieces import seal_pieces
from obnam.pool.slabs import make_slab
from obnam.pool.worker import Tools
from obnam.wire.frames import FRAME_HEADER_BYTES, split
from obnam.wire.limits import UPLOAD_BODY_MAX
from tests.unit.pool.bench import KEYS, SLAB_BYTES, Bench, group_of, noise


@pytest.mark.parametrize("suite", list(Suite))
@pytest.mark.parametrize("compression", ["none", "zstd:1"])
def test_what_is_sealed_opens_again(tmp_path: Path, suite: Suite, compression: str) -> None:
    bench = Bench(Tools(KEYS, suite, Compression.parse(compression)))
    into = make_slab(SLAB_BYTES + (1 << 18))
    (tmp_path / "noise").write_bytes(noise(1, 1_500_000))
    (tmp_path / "text").write_bytes(b"many words\n" * 50_000)
    named = name_files(bench.tools, bench.slab.name, [group_of(tmp_path, b"noise", b"text")])
    wanted = named.pieces[1:]  # the server has the first

    length = seal_pieces(bench.tools, bench.slab.name, wanted, into.name, 0)

    frames = list(split(into.view[:length]))
    assert [frame.chunk_id for frame in frames] == [piece.id for piece in wanted]
    for frame, piece in zip(frames, wanted, strict=True):
        sealed = into.view[frame.offset : frame.offset + frame.length]
        opened = Opener(KEYS).open(ChunkKind.DATA, frame.chunk_id, sealed)
        assert opened == bench.plaintext(piece)
        assert sealed[1] == suite
    plaintext = sum(piece.length for piece in wanted)
    assert (length < plaintext) == (compression != "none")
    bench.close()
    into.remove()


def test_nothing_to_seal(bench: Bench) -> None:
    assert seal_pieces(bench.tools, bench.slab.name, [], bench.slab.name, 7) == 7


def test_a_full_slab_of_small_pieces_fits() -> None:
    """The slabs of a backup: what does not shrink, in the smallest pieces that there are."""
    # A file that is cut by itself makes one piece; beyond MINIMUM perhaps two.
    pieces = PLAINTEXT_SLAB_BYTES // BUNDLE_FILE_MAX + 1
    assert pieces >= 2 * (PLAINTEXT_SLAB_BYTES // MINIMUM) + 1
    overhead = FRAME_HEADER_BYTES + sealed_length_max(BUNDLE_FILE_MAX) - BUNDLE_FILE_MAX
    assert PLAINTEXT_SLAB_BYTES + pieces * overhead <= UPLOAD_BODY_MAX
