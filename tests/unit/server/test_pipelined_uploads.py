"""Uploads one after another on one connection, whose bodies are faster than the admission."""

from tests.support.raw_backup import begin, chunk_id, frames, sealed
from tests.support.server_in_memory import ServerInMemory


def test_a_body_that_outruns_its_admission_does_not_take_the_next_one(
    server: ServerInMemory,
) -> None:
    """The second body's pieces once went to the first upload, which was over."""
    token = server.token("laptop")
    wire = server.connect()
    session = begin(wire, token)
    for numbers in ([1, 2], [3, 4, 5, 6]):
        request = wire.head("POST", "/v1/chunks", frames(*numbers), token=token, session=session)
        # All of it arrives in pieces before any thread has looked at the token.
        for at in range(0, len(request), 700):
            wire.channel.dataReceived(request[at : at + 700])
        server.work.do_all()
        assert wire.answer().status == 204
    for number in (1, 6):
        answer = wire.request("GET", f"/v1/chunks/{chunk_id(number).hex()}", token=token)
        assert answer.body == sealed(number)
