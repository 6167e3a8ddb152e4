"""The pages are enough to read what Obnam wrote, and they are right: nothing of it is used here."""

import os
from pathlib import Path

from tests.acceptance.computer import Computer
from tests.support.by_the_pages import Repository

PASSPHRASE = "A\u030a very secret one"
"""Not in normalisation form C."""


def test_a_repository_can_be_read_by_the_pages(tmp_path: Path) -> None:
    computer = Computer.new(tmp_path / "computer")
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(f"{PASSPHRASE}\n")
    data = tmp_path / "repository"
    computer.obnam("init", f"--repository={data}", f"--passphrase-file={passphrase}")
    live = os.fsencode(computer.live)
    (computer.live / "folder").mkdir()
    (computer.live / "folder" / "empty").touch()
    (computer.live / "link").symlink_to("nowhere")
    for number in range(50):
        (computer.live / f"small {number}").write_bytes(os.urandom(number) * number)
    with open(live + b"/\xff sparse", "wb") as sparse:
        sparse.write(os.urandom(5 << 20))
        sparse.seek(3 << 20, os.SEEK_CUR)
        sparse.write(b"end")
    computer.backup()
    (computer.live / "small 7").write_bytes(os.urandom(200_000))
    (computer.live / "small 8").unlink()
    computer.backup()

    repository = Repository(data, PASSPHRASE)
    first, second = repository.generations()
    assert (first["previous"], first["sequence"], second["sequence"]) == (None, 1, 2)
    assert second["previous"][0] == first["generation"]
    assert second["roots"] == [live.hex()]
    found = dict(repository.files(repository.database(second, tmp_path / "second")))
    there: dict[bytes, bytes | None] = {live: None, live + b"/folder": None}
    for place, _, names in os.walk(live):
        for name in names:
            path = os.path.join(place, name)
            there[path] = None if name == b"link" else Path(os.fsdecode(path)).read_bytes()
    assert found == there
    before = dict(repository.files(repository.database(first, tmp_path / "first")))
    assert before.keys() - found.keys() == {live + b"/small 8"}
