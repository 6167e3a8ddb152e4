"""A repository that cannot be opened: named, in nobody's way, and still to be destroyed."""

import json
from pathlib import Path

import pytest

from obnam.model.ids import RepositoryName
from obnam_server.admin.main import main
from obnam_server.store.store import Store
from tests.support.stored import ALICE, HOME, Clock, back_up, index_path


def run(config: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), *arguments])
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def test_it_does_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, data = tmp_path / "server.yaml", tmp_path / "data"
    config.write_text("data_directory: data\n")
    store = Store.open(data, Clock())
    for name in (HOME, RepositoryName("office")):
        back_up(store.create_repository(name), ALICE, "one", "abc")
    store.close()
    index_path(data).write_bytes(b"no database" * 1000)

    code, out, _ = run(config, capsys, "--json", "repository", "list")
    home, office = json.loads(out)
    assert code == 0
    assert "run: obnam-server rebuild-index" in home["problem"]
    assert (office["problem"], office["generation_count"]) == (None, 1)
    assert "rebuild-index" in run(config, capsys, "repository", "list")[1].splitlines()[0]
    code, _, err = run(config, capsys, "repository", "show", "home")
    assert code == 1
    assert "run: obnam-server rebuild-index" in err
    assert run(config, capsys, "status")[0] == 0

    assert run(config, capsys, "repository", "destroy", "home", "--yes")[0] == 0
    assert [path.name for path in (data / "repositories").iterdir()] == ["office"]
