"""Error answers: RFC 9457 problem documents, ``application/problem+json``.

The ``type`` is a short URN that the client's code decides by; ``title`` is for people.
"""

from attrs import frozen

from obnam.wire.messages import BadMessage, Json

CONTENT_TYPE = "application/problem+json"
_PREFIX = "urn:obnam:problem:"


@frozen
class Problem:
    """One kind of error answer: the last part of its URN, its HTTP status, its title."""

    name: str
    status: int
    title: str

    @property
    def type(self) -> str:
        """The URN."""
        return _PREFIX + self.name

    def to_json(self, detail: str = "", **members: object) -> Json:
        """The document; ``members`` are extension members (RFC 9457, 3.2)."""
        document: dict[str, object] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            **members,
        }
        if detail:
            document["detail"] = detail
        return document


BAD_REQUEST = Problem("bad-request", 400, "The request is malformed")
UNAUTHENTICATED = Problem("unauthenticated", 401, "The token is missing, unknown or revoked")
FORBIDDEN = Problem("forbidden", 403, "The token lacks the scope for this")
NOT_FOUND = Problem("not-found", 404, "There is no such thing here")
METHOD_NOT_ALLOWED = Problem("method-not-allowed", 405, "This cannot be done here")
SESSION_LOST = Problem("session-lost", 409, "The session is unknown or has expired")
CONFLICT = Problem("conflict", 409, "Another commit of this client came first")
CHUNKS_MISSING = Problem("chunks-missing", 409, "Chunks of the generation are not stored")
SET_DIFFERS = Problem("set-differs", 409, "Count or XOR of the chunk set differ")
KEPT = Problem("kept", 409, "Something keeps the generation")
PRECONDITION_FAILED = Problem("precondition-failed", 412, "Someone else changed it meanwhile")
LENGTH_REQUIRED = Problem("length-required", 411, "A body needs a Content-Length")
TOO_LARGE = Problem("too-large", 413, "The body is larger than allowed")
TOO_MANY_REQUESTS = Problem(
    "too-many-requests", 429, "This client asks for too much at once; come back later"
)
TOO_MANY_FAILURES = Problem(
    "too-many-failures", 429, "Too many wrong tokens came from this address; come back later"
)
BUSY = Problem("busy", 503, "The server is busy; come back later")
INTERNAL = Problem("internal", 500, "The server failed")
UNUSABLE = Problem("repository-unusable", 500, "The repository cannot be used as it is")
FULL = Problem("full", 507, "The server has no room")
OVER_QUOTA = Problem("over-quota", 507, "The repository would exceed its quota")


def name_of(document: object) -> str:
    """The name of the problem that a document states. Raises `BadMessage`."""
    if not isinstance(document, dict):
        raise BadMessage("not a problem document")
    urn = document.get("type")
    if not isinstance(urn, str) or not urn.startswith(_PREFIX):
        raise BadMessage("not a problem document of this protocol")
    return urn.removeprefix(_PREFIX)
