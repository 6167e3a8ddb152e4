"""Why OpenSSL refuses a certificate: its error says only that it does.

The reason is the connection's verification result, for which pyOpenSSL has no public name; for the
day when the private ones have changed, there is no reason.
"""

from OpenSSL import SSL

try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib
except ImportError:
    _known = False
else:
    _used = ("SSL_get_verify_result", "X509_verify_cert_error_string")
    _known = all(hasattr(_lib, name) for name in _used) and hasattr(_ffi, "string")

VERIFY_FAILED = "certificate verify failed"
"""What OpenSSL says of each certificate that it refuses (``SSL_R_CERTIFICATE_VERIFY_FAILED``)."""


class CertificateRefused(SSL.Error):
    """``code`` is the number of an ``X509_V_ERR_…`` of OpenSSL's; ``words``, what it calls that."""

    def __init__(self, error: SSL.Error, code: int, words: str) -> None:
        super().__init__(*error.args)
        self.code = code
        self.words = words


def reason_of(error: BaseException) -> str:
    """The last reason of an OpenSSL error, such as `VERIFY_FAILED`; empty: it is none of those."""
    if not isinstance(error, SSL.Error) or not error.args or not isinstance(error.args[0], list):
        return ""
    return str(error.args[0][-1][-1]) if error.args[0] else ""


def explained(connection: SSL.Connection, error: SSL.Error) -> SSL.Error:
    """The same error; with the reason, if a certificate was refused and there is one."""
    if not _known or reason_of(error) != VERIFY_FAILED:
        return error
    code = int(_lib.SSL_get_verify_result(connection._ssl))
    words = _ffi.string(_lib.X509_verify_cert_error_string(code)).decode("ascii", "replace")
    return CertificateRefused(error, code, words)
