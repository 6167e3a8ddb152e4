"""Requests that decide over generations: delete, undelete, pin, unpin."""

import json

from obnam.model.ids import RepositoryName
from obnam_server.api import Api
from obnam_server.upkeep.policy import DAY_NS
from tests.support.raw_backup import backed_up, problem
from tests.support.server_in_memory import HOUR_NS, RawAnswer, ServerInMemory


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


def test_a_managers_token_cannot_end_a_legal_hold(server: ServerInMemory) -> None:
    """Whoever stole it can take pins away, and there is no request that ends a hold."""
    token = server.token("laptop", scopes=("backup", "restore", "manage"))
    first = backed_up(server.connect(), token, 1, 1).generation
    backed_up(server.connect(), token, 2, 1, 2, previous=first)
    home = server.store.repository(RepositoryName("laptop"))
    home.change(home.decisions.hold, "administrator (user 0)", "case 7")
    for method, rest in (("DELETE", "/pin"), ("PUT", "/undelete"), ("DELETE", "")):
        path = f"/v1/generations/{first}{rest}"
        answer = server.connect().request(method, path, token=token)
    assert problem(answer) == "kept"
    assert "case 7" in json.loads(answer.body)["detail"]
    assert not [rule for rule in Api.app.url_map.iter_rules() if "hold" in rule.rule]


def test_lists_say_what_was_decided(server: ServerInMemory) -> None:
    token = server.token("laptop", scopes=("backup", "restore", "manage"))
    reader = server.token("reader", "laptop", scopes=("restore",))
    made = [backed_up(server.connect(), token, 1, 1).generation]
    for number in (2, 3, 4):
        previous = made[-1]
        made.append(backed_up(server.connect(), token, number, 1, previous=previous).generation)

    def listed(query: str) -> list[tuple[object, ...]]:
        answer = server.connect().request("GET", f"/v1/generations{query}", token=reader)
        lines = json.loads(answer.body)["generations"]
        return [(each["generation"], each["pinned"], each["trashed_ns"]) for each in lines]

    def until() -> object:
        answer = server.connect().request("GET", "/v1/generations?trash=1", token=reader)
        return json.loads(answer.body)["generations"][0]["until_ns"]

    server.advance(1)
    now_ns = HOUR_NS + 10**9
    for generation in made[:2]:
        server.connect().request("DELETE", f"/v1/generations/{generation}", token=token)
    path = f"/v1/generations/{made[2]}/pin"
    server.connect().request("PUT", path, b'{"reason": "good"}', token=token)
    assert listed("") == listed("?trash=0") == [(made[2], "good", None), (made[3], None, None)]
    assert listed("?trash=1") == [(made[0], None, now_ns), (made[1], None, now_ns)]
    assert listed("?after=1&trash=1") == [(made[1], None, now_ns)]
    assert listed("?after=2&trash=1") == []
    assert until() == now_ns + 30 * DAY_NS
    decisions = server.store.repository(RepositoryName("laptop")).decisions
    for policy, stays_ns in (({"daily": 1, "trash_days": 3}, 3 * DAY_NS), ({"no": "policy"}, None)):
        decisions.set_policy(policy)
        assert until() == (None if stays_ns is None else now_ns + stays_ns)
    for wrong in ("yes", "", "2"):
        answer = server.connect().request("GET", f"/v1/generations?trash={wrong}", token=token)
        assert problem(answer) == "bad-request"
