"""What to say, and to do, when a server's certificate is refused. Pure."""

_EXPIRED = 10
_NOT_YET_VALID = 9
_SELF_SIGNED = 18
_OF_NO_KNOWN_AUTHORITY = frozenset({2, 19, 20, 21})
"""Of OpenSSL's ``X509_V_ERR_…`` (x509_vfy.h), which do not change."""

OTHER_NAME = (
    "its certificate is for another name. Use the one that it is for (`server_url` in the "
    "configuration), or have its administrator get a certificate for this one"
)

CANNOT_BE_VERIFIED = "its certificate cannot be verified; its administrator has to look at it"

_OTHER_WAYS = "as `trusted_certificates` in the configuration, or join by an invitation with a pin"


def why_refused(code: int, words: str, authorities: str) -> str:
    """What is wrong with a certificate, and the way out, in one line.

    ``code`` is OpenSSL's, and ``words`` what it says; ``authorities`` are those that are believed.
    """
    if code == _EXPIRED:
        return (
            "its certificate, or that of an authority behind it, has expired. Have its "
            "administrator renew it; or set this computer's clock, if that is wrong"
        )
    if code == _NOT_YET_VALID:
        return (
            "its certificate, or that of an authority behind it, is not valid yet. Set this "
            "computer's clock, if that is wrong; or else have its administrator look at it"
        )
    if code == _SELF_SIGNED:
        return f"nobody but itself vouches for its certificate. Name that {_OTHER_WAYS}"
    if code in _OF_NO_KNOWN_AUTHORITY:
        return (
            f"none of {authorities} vouches for its certificate. Name the authority's certificate "
            f"{_OTHER_WAYS}; or its administrator has left out a certificate between the two"
        )
    if not words:
        return CANNOT_BE_VERIFIED
    return f"its certificate is not good: {words}. Its administrator has to replace it"


def other_key(pin: str) -> str:
    """The same for a key that is not the pinned one."""
    return (
        f"its key is not the pinned one, {pin}. Someone may be listening "
        f"in; if the server got a new key, ask its administrator for the new pin"
    )
