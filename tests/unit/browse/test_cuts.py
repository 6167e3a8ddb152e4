"""Cutting a file for somebody to look at."""

from pathlib import Path

import pytest

from obnam.browse.cuts import cuts_of
from obnam.crypto.keys import MasterKey, RepositoryKeys
from obnam.crypto.names import Namer


def test_ctrl_c_in_the_midst_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(*_: object) -> bytes:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    monkeypatch.setattr(Namer, "name", name)
    with pytest.raises(KeyboardInterrupt):
        cuts_of(str(path), RepositoryKeys.derive(MasterKey.generate()))
