"""Requests that decide over generations: delete, undelete, pin, unpin."""

import json

from tests.support.raw_backup import backed_up, problem
from tests.support.server_in_memory import RawAnswer, ServerInMemory


def test_deciding_over_generations(server: ServerInMemory) -> None:
    token = server.token("laptop", scopes=("backup", "restore", "manage"))
    first = backed_up(server.connect(), token, 1, 1).generation
    second = backed_up(server.connect(), token, 2, 1, 2, previous=first).generation
    path = f"/v1/generations/{first}"

    def ask(method: str, path: str, body: bytes = b"") -> RawAnswer:
        return server.connect().request(method, path, body, token=token)

    def listed() -> list[str]:
        found = json.loads(ask("GET", "/v1/generations").body)["generations"]
        return [each["generation"] for each in found]

    assert ask("PUT", f"{path}/pin", b'{"reason": "the good one"}').status == 204
    kept = ask("DELETE", path)
    assert problem(kept) == "kept"
    assert "the good one" in json.loads(kept.body)["detail"]
    assert ask("DELETE", f"{path}/pin").status == 204
    assert problem(ask("DELETE", f"/v1/generations/{second}")) == "kept"
    assert [ask("DELETE", path).status, ask("DELETE", path).status] == [204, 204]
    assert listed() == [second]
    assert ask("PUT", f"{path}/undelete").status == 204
    assert listed() == [first, second]
    for method, rest in (("DELETE", ""), ("PUT", "/undelete"), ("DELETE", "/pin")):
        assert problem(ask(method, f"/v1/generations/{'0' * 32}{rest}")) == "not-found"
    assert problem(ask("PUT", f"{path}/pin", b"{}")) == "bad-request"


def test_a_backup_credential_deletes_nothing(server: ServerInMemory) -> None:
    token = server.token("laptop", scopes=("backup", "restore"))
    first = backed_up(server.connect(), token, 1, 1).generation
    backed_up(server.connect(), token, 2, 1, 2, previous=first)
    path = f"/v1/generations/{first}"
    for method, rest in (("DELETE", ""), ("PUT", "/undelete"), ("DELETE", "/pin"), ("PUT", "/pin")):
        answer = server.connect().request(method, path + rest, token=token)
        assert problem(answer) == "forbidden"
