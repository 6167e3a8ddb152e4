"""An administrator's invitation: one line, ``https://HOST:PORT/#CODE.PIN``.

What is behind the ``#`` is never sent as part of a URL. The pin is the base64url SHA-256 of the
certificate's public key; a certificate of an authority needs none.
"""

from attrs import frozen

from obnam.wire.members import Json


@frozen
class Invitation:
    """``url``: the server's, without a slash at its end, or ``unix:PATH``."""

    url: str
    code: str
    pin: str | None

    def to_json(self) -> Json:
        """Whole and in parts, for programs."""
        return {"invitation": str(self), "url": self.url, "code": self.code, "pin": self.pin}

    def __str__(self) -> str:
        slash = "/" if self.url.startswith("https:") else ""
        pin = f".{self.pin}" if self.pin else ""
        return f"{self.url}{slash}#{self.code}{pin}"
