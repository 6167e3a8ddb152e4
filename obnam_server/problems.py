"""Every error answer of the server, on one screen: what went wrong -> problem document."""

import errno
import json
import os
from collections.abc import Mapping

from attrs import define, field, frozen
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from werkzeug.exceptions import HTTPException

from obnam.errors import (
    AccessDenied,
    ChunksMissing,
    CommitConflict,
    NotFound,
    RequestRefused,
    SessionLost,
    UnknownFormat,
)
from obnam.wire.frames import BadFrame
from obnam.wire.limits import COMMIT_REFUSED_IDS_MAX
from obnam.wire.messages import BadMessage
from obnam.wire.problems import (
    BAD_REQUEST,
    CHUNKS_MISSING,
    CONFLICT,
    CONTENT_TYPE,
    FULL,
    INTERNAL,
    KEPT,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PRECONDITION_FAILED,
    SESSION_LOST,
    SET_DIFFERS,
    UNAUTHENTICATED,
    UNUSABLE,
    Problem,
)
from obnam_server.store.disk.database import is_damaged
from obnam_server.store.errors import (
    BadDataDirectory,
    DamagedIndex,
    DamagedKeyring,
    DamagedSegment,
    Kept,
    KeyringChanged,
    SetDiffers,
    StoreFailed,
    StoreFull,
)
from obnam_server.store.store import INDEX_NAME
from obnam_server.streams import ClientGone

log = Logger()

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@define(eq=False)
class Refused(Exception):
    """A request is answered with ``problem``; ``members`` are extensions of the document."""

    problem: Problem
    detail: str = ""
    members: Mapping[str, object] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)


@frozen
class Answer:
    """A whole error answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def told_better(error: BaseException | None) -> BaseException | None:
    """The error, or that of which it is a sign: an index may turn out to be damaged at any time."""
    if not isinstance(error, StoreFailed) or not is_damaged(error.__cause__):
        return error
    is_index = os.path.basename(error.path) == INDEX_NAME
    return DamagedIndex(error.path, error.problem) if is_index else error


def refusal_of(error: BaseException | None) -> Refused | None:
    """What an error means to the client; ``None``: it is our own mistake."""
    error = told_better(error)
    match error:
        case Refused():
            return error
        case BadMessage() | BadFrame():
            return Refused(BAD_REQUEST, str(error))
        case NotFound():
            return Refused(NOT_FOUND)  # the same for "absent" and "not yours"
        case SessionLost():
            return Refused(SESSION_LOST)
        case CommitConflict():
            return Refused(CONFLICT, members={"latest": error.latest})
        case ChunksMissing():
            first = [chunk_id.hex() for chunk_id in error.first[:COMMIT_REFUSED_IDS_MAX]]
            return Refused(CHUNKS_MISSING, members={"count": error.count, "first": first})
        case SetDiffers():
            return Refused(SET_DIFFERS, error.problem)
        case Kept():
            return Refused(KEPT, error.problem)
        case KeyringChanged():
            return Refused(PRECONDITION_FAILED)
        case RequestRefused():
            return Refused(BAD_REQUEST, error.problem)
        case AccessDenied():
            return Refused(UNAUTHENTICATED, error.problem)
        case BadDataDirectory(path=path) | DamagedIndex(path=path):
            return Refused(UNUSABLE, _without_directory(str(error), path))
        case DamagedKeyring():
            return Refused(UNUSABLE, str(error))
        case UnknownFormat(what=what):
            path = what if what.startswith("/") else ""
            return Refused(UNUSABLE, _without_directory(str(error), path))
        case StoreFull():
            return Refused(FULL)
        case OSError(errno=code) if code in _NO_ROOM:
            return Refused(FULL)
        case HTTPException(code=405):
            return Refused(METHOD_NOT_ALLOWED)
        case HTTPException():
            return Refused(NOT_FOUND)
    return None


def _without_directory(text: str, path: str) -> str:
    """The text with only the last part of ``path``: where our data lies is no client's business."""
    return text.replace(path, f"the file `{os.path.basename(path)}`") if path else text


def answer_to(failure: Failure) -> Answer:
    """The answer to a failed request. Anything unforeseen is logged with its traceback."""
    refused = refusal_of(failure.value)
    if failure.check(ClientGone):
        log.info("A client went away, or took no bytes, before its answer was whole")
        refused = Refused(INTERNAL)
    elif failure.check(DamagedSegment) and refused is None:
        # Of a disk that is going bad there would be many, and the place says nothing.
        log.error("What a client asked for cannot be read: {error}", error=failure.value)
        refused = Refused(INTERNAL)
    if refused is None:
        log.failure("A request failed", failure=failure)
        refused = Refused(INTERNAL)
    if refused.problem is FULL:
        log.warn("There is no room left; a client was told so")
    if refused.problem is UNUSABLE:
        log.error("A repository cannot be used: {error}", error=told_better(failure.value))
    document = refused.problem.to_json(refused.detail, **refused.members)
    body = json.dumps(document).encode("utf-8")
    headers = {"Content-Type": CONTENT_TYPE, "Content-Length": str(len(body)), **refused.headers}
    return Answer(refused.problem.status, headers, body)


def write_answer(request: Request, failure: Failure) -> bytes:
    """Put status and headers of the answer into ``request``; returns the body.

    A request whose answer has begun cannot be answered otherwise: its connection is cut, which
    tells the client that the answer is not whole.
    """
    answer = answer_to(failure)
    if request.startedWriting:
        if request.channel is not None:
            request.channel.forceAbortClient()
        return b""
    request.setResponseCode(answer.status)
    for name, value in answer.headers.items():
        request.setHeader(name.encode("ascii"), value.encode("latin-1"))
    return answer.body
