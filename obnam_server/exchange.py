"""Reading a request, and answering it: what the handlers of `obnam_server.api` share."""

import json

from obnam.model.ids import SessionId, parse_session_id
from obnam.wire.idlists import unpack_ids
from obnam.wire.limits import FETCH_BODY_MAX, FETCH_IDS_MAX
from obnam.wire.messages import BadMessage, Json, Keyring
from obnam.wire.problems import PRECONDITION_FAILED, TOO_LARGE
from obnam_server.problems import Refused
from obnam_server.requests import ApiRequest
from obnam_server.store.segments.fetch import Wanted, size_of
from obnam_server.work import Work

# Reading a request


def read_json(request: ApiRequest) -> object:
    """The body as JSON. `BadMessage`."""
    try:
        return json.loads(request.read_body())
    except (ValueError, RecursionError) as error:
        raise BadMessage("the body is not JSON") from error


def who_asks(request: ApiRequest) -> str:
    """Whom decisions are put down to."""
    return f"client {request.caller.name}"


def session_of(request: ApiRequest) -> SessionId:
    """The session that a request names. `BadMessage`."""
    text = request.getHeader("Obnam-Session")
    if text is None:
        raise BadMessage("the header Obnam-Session is missing")
    try:
        return parse_session_id(text)
    except ValueError as error:
        raise BadMessage(f"Obnam-Session: {error}") from error


def sequence_of(request: ApiRequest) -> int:
    """The sequence number in ``after``. `BadMessage`."""
    text = request.args.get(b"after", [b"0"])[-1]
    if not text.isdigit() or len(text) > 18:
        raise BadMessage("'after' must be a sequence number")
    return int(text)


def wants_trash(request: ApiRequest) -> bool:
    """Whether the trash is asked for, by ``trash=1``. `BadMessage` for another value."""
    text = request.args.get(b"trash", [b"0"])[-1]
    if text not in (b"0", b"1"):
        raise BadMessage("'trash' must be 0 or 1")
    return bool(text == b"1")


def first_of(request: ApiRequest) -> int:
    """The number in ``from``: where a page begins. `BadMessage`."""
    text = request.args.get(b"from", [b"0"])[-1]
    if not text.isdigit() or len(text) > 18:
        raise BadMessage("'from' must be a number")
    return int(text)


def etag_of(request: ApiRequest) -> str:
    """What ``If-Match`` says. `Refused`."""
    text = request.getHeader("If-Match")
    if text is None:
        raise Refused(PRECONDITION_FAILED, "If-Match is missing: say which keyring is replaced")
    return text.strip().removeprefix('"').removesuffix('"')


async def wanted_by(request: ApiRequest, work: Work) -> tuple[list[Wanted], int]:
    """Where the chunks lie that a request asks for, and the length of their frames (bytes).

    `BadMessage`; `Refused`: it asks for too much at once.
    """
    ids = unpack_ids(request.read_body(), FETCH_IDS_MAX)
    wanted = await work.read(request.repository.wanted, ids)
    length = size_of(wanted)
    if length > FETCH_BODY_MAX:
        raise Refused(TOO_LARGE, f"the answer would be larger than {FETCH_BODY_MAX} bytes")
    return wanted, length


# Answering


def json_answer(request: ApiRequest, value: Json, status: int = 200) -> bytes:
    """Answer with JSON."""
    request.setResponseCode(status)
    body = json.dumps(value, separators=(",", ":")).encode("ascii")
    return octets(request, body, "application/json")


def keyring_answer(request: ApiRequest, keyring: Keyring) -> bytes:
    """Answer with the keyring."""
    request.setHeader(b"ETag", f'"{keyring.etag}"'.encode("ascii"))
    return json_answer(request, keyring.to_json())


def octets(
    request: ApiRequest, body: bytes, content_type: str = "application/octet-stream"
) -> bytes:
    """Answer with bytes."""
    request.setHeader(b"Content-Type", content_type.encode("ascii"))
    request.setHeader(b"Content-Length", b"%d" % len(body))
    return body


def nothing(request: ApiRequest) -> bytes:
    """Answer 204."""
    request.setResponseCode(204)
    return b""
