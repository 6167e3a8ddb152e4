"""What a request that did not succeed means, as errors of `obnam.errors`: all on one screen.

`refusal` reads error answers (problem documents, or the bare status that a proxy on the way may
send), `broken` reads what kept an answer from coming.
"""

import json
from collections.abc import Callable, Iterator

from attrs import define, frozen
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import CancelledError
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)

from obnam import errors
from obnam.model.ids import ChunkId, parse_chunk_id
from obnam.repository.bodies import TooLong
from obnam.repository.certificates import OTHER_NAME
from obnam.transport.refused import VERIFY_FAILED, CertificateRefused, reason_of
from obnam.wire import problems
from obnam.wire.frames import BadFrame
from obnam.wire.limits import COMMIT_REFUSED_IDS_MAX, TEXT_MAX
from obnam.wire.messages import BadMessage, Json

_NETWORK = (ConnectError, ConnectionClosed, DNSLookupError, TimeoutError, OSError)
FAILURES = (
    *_NETWORK,
    SSL.Error,
    VerificationError,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    CancelledError,
    BadFrame,
    TooLong,
)
"""All that may end a request; any other exception is a mistake of ours and goes on its way."""

_PLAINLY: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "it takes no connection"),
    (ConnectionRefusedError, "nothing listens there"),
    (ConnectionClosed, "the connection was lost"),
)
"""What Twisted says of these, "User timeout caused connection failure", say, helps nobody."""

RETRY_AFTER_MAX_S = 3600.0
"""A server that asks for more than this is taken to have asked for this."""


@define(eq=False, repr=False)
class RepositoryUnusable(errors.ObnamError):
    """The server cannot open the repository; to ask again is of no use before that is mended."""

    server: str
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.server} cannot use the repository: {self.problem}. Whoever runs the server has "
            f"to mend that; its log says which file it is"
        )


@frozen
class Asked:
    """What a request was about, for the message of its error."""

    what: str
    session: str = ""
    previous: str | None = None


WhyRefused = Callable[[int, str], str]
"""What to say of a certificate that was refused, for OpenSSL's reason and its words: 0 and none are
those that nobody knows. See `Trust`."""


@frozen
class Answer:
    """An answer, read whole. ``retry_after`` is the header's text."""

    status: int
    body: bytes
    retry_after: str | None = None
    etag: str | None = None


def read_json(answer: Answer) -> object:
    """The answer's JSON. Raises `BadMessage`."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise BadMessage("the answer is not JSON") from error


def refusal(asked: Asked, server: str, answer: Answer) -> errors.ObnamError:
    """The error that an answer other than 2xx stands for."""
    status, document = answer.status, _document(answer)
    said = _said(document) or f"HTTP status {status}"
    match problems.name_of(document) if document else "", status:
        case problems.SESSION_LOST.name, _:
            return errors.SessionLost(asked.session)
        case problems.CONFLICT.name, _:
            return errors.CommitConflict(asked.previous, _text(document, "latest") or None)
        case problems.CHUNKS_MISSING.name, _:
            first = _missing_ids(document)
            return errors.ChunksMissing(max(_count(document, "count"), len(first)), first)
        case problems.KEPT.name, _:
            return errors.GenerationKept(asked.what, said)
        case problems.UNUSABLE.name, _:
            return RepositoryUnusable(server, said)
        case problems.OVER_QUOTA.name, _:
            return errors.OverQuota(server, _count(document, "used"), _count(document, "quota"))
        case _, 401:
            advice = "ask the server's administrator for a new invitation"
            return errors.AccessDenied(server, f"{said}; {advice}")
        case _, 403:
            return errors.AccessDenied(server, said)
        case _, 404:
            return errors.NotFound(asked.what)
        case _, 507:
            return errors.ServerFull(server)
        case _, 408 | 425 | 429 | 500 | 502 | 503 | 504:
            problem = _said(document) if status == 429 else ""
            return errors.ServerBusy(server, status, _seconds(answer.retry_after), problem)
        case _, _ if 400 <= status < 500:
            return errors.RequestRefused(server, said)
    return errors.ServerMisbehaved(server, f"unexpected HTTP status {status} to {asked.what}")


def broken(server: str, error: Exception, why_refused: WhyRefused) -> errors.ObnamError:
    """The error behind an exception of twisted.web, of TLS or of the network."""
    found = list(causes(error))
    said = "; ".join(filter(None, dict.fromkeys(map(_plainly, found))))[:TEXT_MAX]
    said = said or type(error).__name__
    for cause in found:
        if isinstance(cause, errors.ObnamError):
            return cause
        if isinstance(cause, VerificationError):
            return errors.UntrustedServer(server, OTHER_NAME)
        if isinstance(cause, CertificateRefused):
            return errors.UntrustedServer(server, why_refused(cause.code, cause.words))
        if reason_of(cause) == VERIFY_FAILED:
            return errors.UntrustedServer(server, why_refused(0, ""))
        if reason_of(cause):
            return errors.UntrustedServer(server, f"no TLS with it: {reason_of(cause)}")
    if any(isinstance(cause, _NETWORK) for cause in found):
        return errors.ServerUnreachable(server, said)
    return errors.ServerMisbehaved(server, said)


def _plainly(cause: BaseException) -> str:
    for kind, said in _PLAINLY:
        if isinstance(cause, kind):
            return said
    name = type(cause).__name__
    # A private one of Twisted's comes with another that says more: the connection's loss, say.
    return str(cause) or ("" if name.startswith("_") else name)


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions within those of twisted.web, which carry a list of Failures."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        yield error
        return
    for reason in reasons:
        yield from causes(reason.value)


def _document(answer: Answer) -> Json | None:
    """The problem document, if the answer is one."""
    try:
        document = read_json(answer)
        problems.name_of(document)
    except BadMessage:
        return None
    return document if isinstance(document, dict) else None


def _text(document: Json | None, name: str) -> str:
    """A member that is a text, with nothing in it that could play with a terminal."""
    value = (document or {}).get(name)
    if not isinstance(value, str):
        return ""
    return "".join(c if c.isprintable() else "?" for c in value[:TEXT_MAX])


def _said(document: Json | None) -> str:
    return _text(document, "detail") or _text(document, "title")


def _missing_ids(document: Json | None) -> tuple[ChunkId, ...]:
    """The ids that a refused commit names; what is not an id is left out."""
    value = (document or {}).get("first")
    if not isinstance(value, list):
        return ()
    found = []
    for text in value[:COMMIT_REFUSED_IDS_MAX]:
        try:
            found.append(parse_chunk_id(bytes.fromhex(text)))
        except (TypeError, ValueError):
            continue
    return tuple(found)


def _count(document: Json | None, name: str) -> int:
    """A member that is a number, or 0."""
    value = (document or {}).get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        return 0
    return value


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` in seconds; its other form, a date, is not used by our server."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return min(float(text), RETRY_AFTER_MAX_S)
