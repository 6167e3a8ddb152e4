"""A backup request by request, as bytes, on the server in memory."""

import json

from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, GenerationId, SessionId, parse_session_id
from obnam.wire.frames import pack_header
from obnam.wire.idlists import pack_references
from obnam.wire.messages import Commit, Receipt
from obnam.wire.problems import CONTENT_TYPE, name_of
from tests.support.server_in_memory import RawAnswer, Wire


def chunk_id(number: int) -> ChunkId:
    return ChunkId(b"\x01" + number.to_bytes(32, "big"))


def sealed(number: int) -> bytes:
    return b"sealed %d " % number * 100


def frames(*numbers: int) -> bytes:
    return b"".join(pack_header(chunk_id(n), len(sealed(n))) + sealed(n) for n in numbers)


def begin(wire: Wire, token: str, base: GenerationId | None = None) -> SessionId:
    body = json.dumps({"base": base}).encode()
    answer = wire.request("POST", "/v1/sessions", body, token=token)
    assert answer.status == 201
    return parse_session_id(json.loads(answer.body)["session"])


def store(wire: Wire, token: str, session: SessionId, *numbers: int) -> RawAnswer:
    return wire.request("POST", "/v1/chunks", frames(*numbers), token=token, session=session)


def commit_of(number: int, *chunks: int, previous: GenerationId | None = None) -> Commit:
    sum_ = SetSum().add(chunk_id(n) for n in chunks)
    return Commit(GenerationId(f"{number:032x}"), previous, sum_, chunk_id(10**6), b"manifest")


def commit(wire: Wire, token: str, session: SessionId, what: Commit) -> RawAnswer:
    body = json.dumps(what.to_json()).encode()
    return wire.request("POST", "/v1/generations", body, token=token, session=session)


def backed_up(
    wire: Wire, token: str, number: int, *chunks: int, previous: GenerationId | None = None
) -> Receipt:
    """A whole backup of some chunks."""
    session = begin(wire, token)
    assert store(wire, token, session, *chunks).status == 204
    body = pack_references([chunk_id(n) for n in chunks], [])
    path = f"/v1/sessions/{session}/references"
    assert wire.request("POST", path, body, token=token).status == 204
    answer = commit(wire, token, session, commit_of(number, *chunks, previous=previous))
    assert answer.status == 201
    return Receipt.from_json(json.loads(answer.body))


def problem(answer: RawAnswer) -> str:
    """The name of the problem; checks that it is a proper document."""
    assert answer.headers["content-type"] == CONTENT_TYPE
    document = json.loads(answer.body)
    assert document["status"] == answer.status
    return name_of(document)
