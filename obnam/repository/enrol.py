"""Joining a repository: from an invitation to a token that the server knows.

An invitation is one line that the server's administrator hands over: ``https://HOST:PORT/#CODE``,
with ``.PIN`` behind it where the certificate is known by its key (`obnam.repository.tls`).
"""

import base64
import re
from collections.abc import Callable
from hashlib import sha256
from urllib.parse import urlsplit, urlunsplit

from attrs import field, frozen

from obnam.errors import BadInvitation
from obnam.repository.answers import Asked
from obnam.repository.exchange import Exchange
from obnam.repository.tls import Pin, check_url, parse_pin
from obnam.wire.messages import EnrolmentAnswer, EnrolmentRequest

TOKEN_BYTES = 32
"""Random bytes of a token: 256 bits, so that no one guesses it and a plain hash hides it."""

INVITATION_MAX = 1024
"""Characters of an invitation."""

_CODE = re.compile(r"[A-Za-z0-9_-]{16,128}")


@frozen
class Invitation:
    """A checked invitation. The code is a secret until it is used."""

    url: str
    code: str = field(repr=False)
    pin: Pin | None


def parse_invitation(line: str) -> Invitation:
    """Take an invitation apart. Raises `BadInvitation`, or `ConfigurationError` for ``http:``."""
    line = line.strip()
    if len(line) > INVITATION_MAX:
        raise BadInvitation("it is too long")
    try:
        parts = urlsplit(line)
    except ValueError as error:
        raise BadInvitation("it is no URL") from error
    code, dot, pin = parts.fragment.partition(".")
    if not _CODE.fullmatch(code):
        raise BadInvitation("it must be like https://HOST:PORT/#CODE, as the server printed it")
    url = check_url("invitation", urlunsplit(parts._replace(fragment="")))
    try:
        return Invitation(url, code, parse_pin(pin) if dot else None)
    except ValueError as error:
        raise BadInvitation(str(error)) from error


def new_token(random: Callable[[int], bytes]) -> str:
    """A client's credential; ``random`` is a source of secret bytes, such as ``os.urandom``."""
    return base64.urlsafe_b64encode(random(TOKEN_BYTES)).decode("ascii").rstrip("=")


async def enrol(exchange: Exchange, invitation: Invitation, token: str) -> EnrolmentAnswer:
    """Tell the server the hash of ``token``. Repeating it, with the same token, is harmless.

    ``exchange`` is one without a token. Keep the token before this is called: once the server
    knows it, the code is used up. Raises `AccessDenied` for a wrong, used or expired code.
    """
    request = EnrolmentRequest(invitation.code, sha256(token.encode("ascii")).hexdigest())
    asked = Asked("the invitation")
    answer = await exchange.json("POST", "/v1/enrolment", asked, request.to_json())
    return exchange.parsed(answer, EnrolmentAnswer.from_json)
