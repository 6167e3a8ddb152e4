"""What a worker holds of a body that it writes: nothing, once that is over."""

import os
from pathlib import Path

import pytest

from obnam.wire.frames import BadFrame, pack_header
from obnam_server.store.disk.direct import BUFFERS, BUFFERS_MAX
from obnam_server.store.segments.format import HEADER_BYTES
from obnam_server.workers.carrying import WrittenBody
from tests.support.raw_backup import chunk_id

FRAME = pack_header(chunk_id(7), 5) + b"large"


@pytest.mark.parametrize("end", ["whole", "cut short", "given up"])
def test_it_lets_go_of_file_and_buffer(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BUFFERS, "_unmade", BUFFERS_MAX)
    monkeypatch.setattr(BUFFERS, "_free", [])
    path = tmp_path / "incoming"
    path.write_bytes(bytes(HEADER_BYTES))
    opened = os.listdir("/proc/self/fd")
    for _ in range(BUFFERS_MAX + 1):
        body = WrittenBody(path)
        body.write([FRAME if end == "whole" else FRAME[:-1]])
        if end == "whole":
            body.finish()
        elif end == "cut short":
            with pytest.raises(BadFrame):
                body.finish()
        body.abort()
    assert os.listdir("/proc/self/fd") == opened
    assert None not in [BUFFERS.take() for _ in range(BUFFERS_MAX)]
    written = (BUFFERS_MAX + 1) * FRAME if end == "whole" else b""
    assert path.read_bytes() == bytes(HEADER_BYTES) + written
