"""A repository that cannot be opened: named, in nobody's way, and still to be destroyed."""

import json
import sqlite3
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from obnam.model.ids import RepositoryName
from obnam.wire.problems import name_of
from obnam_server.admin.main import main
from obnam_server.problems import answer_to, refusal_of
from obnam_server.store.errors import StoreFailed
from obnam_server.store.store import Store
from tests.support.stored import ALICE, HOME, Clock, back_up, chunk_id, index_path


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


def test_an_index_that_turns_out_to_be_damaged(tmp_path: Path) -> None:
    """Not when it is opened but at some later request: there is no use in trying again."""
    data = tmp_path / "data"
    store = Store.open(data, Clock())
    back_up(store.create_repository(HOME), ALICE, "one", "abc")
    store.close()
    damage_table(index_path(data), "chunks")
    store = Store.open(data, Clock())
    with pytest.raises(StoreFailed) as caught:
        list(store.repository(HOME).wanted([chunk_id("a")]))
    store.close()
    with capturedLogs() as events:
        failure = Failure(caught.value)  # type: ignore[no-untyped-call]
        answer = answer_to(failure)
    document = json.loads(answer.body)
    assert (answer.status, name_of(document)) == (500, "repository-unusable")
    assert "the file `index.sqlite`: " in document["detail"]
    assert str(tmp_path) not in document["detail"]
    (line,) = map(formatEvent, events)
    assert str(index_path(data)) in line
    assert line.endswith("run: obnam-server rebuild-index")


def test_what_may_be_over_soon_is_tried_again() -> None:
    """A disk that does not answer tells nothing about an index."""
    failed = StoreFailed("/data/repositories/home/index.sqlite", "disk I/O error")
    failed.__cause__ = sqlite3.OperationalError("disk I/O error")
    assert refusal_of(failed) is None


def damage_table(path: Path, table: str) -> None:
    """Spoil the first page of a table."""
    connection = sqlite3.connect(path)
    query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    (root,) = connection.execute(query, (table,)).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
