"""``GET /v1/damage``: what is no number, and pages."""

import json

import pytest

from obnam.model.ids import RepositoryName
from tests.support.raw_backup import backed_up, problem
from tests.support.scrubbed import scrub_now
from tests.support.server_in_memory import ServerInMemory
from tests.support.stored import segment_paths


@pytest.mark.parametrize("text", ["-1", "x", "", "9" * 19, "1.5"])
def test_what_is_no_number(server: ServerInMemory, text: str) -> None:
    token = server.token("laptop")
    answer = server.connect().request("GET", f"/v1/damage?from={text}", token=token)
    assert problem(answer) == "bad-request"


def test_pages(server: ServerInMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("obnam_server.store.repository.DAMAGE_PAGE_MAX", 2)
    token = server.token("laptop")
    backed_up(server.connect(), token, 1, 1, 2, 3, 4, 5)
    home = server.store.create_repository(RepositoryName("laptop"))
    data = server.store.data
    segment_paths(data, RepositoryName("laptop"))[0].unlink()
    assert len(scrub_now(home)) == 5
    found: set[str] = set()
    sizes, first = [], 0
    while first is not None:
        answer = server.connect().request("GET", f"/v1/damage?from={first}", token=token)
        page = json.loads(answer.body)
        found.update(each["id"] for each in page["chunks"])
        sizes.append(len(page["chunks"]))
        first = page["next"]
    assert len(found) == 5
    assert sizes == [2, 2, 1]
