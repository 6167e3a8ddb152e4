"""What clients meet when their repository is destroyed while the server runs."""

from obnam.model.ids import RepositoryName
from tests.support.server_in_memory import ServerInMemory

HOME = RepositoryName("home")


def test_its_clients_are_out_and_a_new_one_begins_with_nothing(server: ServerInMemory) -> None:
    token, other = server.token("laptop", "home"), server.token("other", "office")
    wire = server.connect()
    assert wire.request("POST", "/v1/sessions", b'{"base": null}', token=token).status == 201
    assert wire.request("POST", "/v1/sessions", b'{"base": null}', token=other).status == 201
    server.store.destroy_repository(HOME)
    wire.send(wire.head("GET", "/v1/repository", token=token))
    server.advance(2)
    assert wire.answer().status == 401
    assert server.store.repositories() == ["office"]
    assert wire.request("GET", "/v1/repository", token=other).status == 200

    token = server.token("laptop", "home")
    answer = wire.request("GET", "/v1/repository", token=token)
    assert answer.status == 200
    assert server.store.repositories() == ["home", "office"]


def test_a_request_that_was_just_let_in_makes_nothing(server: ServerInMemory) -> None:
    """Its token was good; by the time it comes to the store, it is not."""
    token = server.token("laptop", "home")
    wire = server.connect()
    wire.channel.dataReceived(wire.head("GET", "/v1/repository", token=token))
    work = server.work._queue
    work.popleft()()  # it is let in, and waits for its repository
    assert len(work) == 1
    server.store.create_repository(HOME)
    server.store.destroy_repository(HOME)
    work.popleft()()
    assert wire.answer().status == 401
    assert server.store.repositories() == []
