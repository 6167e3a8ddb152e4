"""Inviting, listing and revoking clients: with or without a running server."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.admin.calling import call
from obnam_server.config import Settings
from obnam_server.invitation import Invitation
from obnam_server.listening import public_url


def invite(
    settings: Settings,
    name: ClientName,
    repository: RepositoryName,
    scopes: Sequence[str],
    expires_ns: int,
) -> Invitation:
    """Invite a client. Raises `ConfigurationError` when the server's address is not known."""
    url = public_url(settings)
    asked = {
        "client": name,
        "repository": repository,
        "scopes": list(scopes),
        "expires_ns": expires_ns,
    }
    code = str(call(settings, "client-invite", asked)["code"])
    from obnam_server.tls import certificate_files, pin_of  # slow to import

    pin = pin_of(certificate_files(settings)) if url.startswith("https:") else None
    return Invitation(url, code, pin)


def client_line(client: Mapping[str, Any]) -> str:
    """One client for people."""
    since = f"since {datetime.fromtimestamp(client['created_ns'] / 1e9, UTC):%Y-%m-%d}"
    state = "revoked" if client["revoked_ns"] else since if client["enrolled"] else "invited"
    return f"{client['name']}\t{client['repository']}\t{','.join(client['scopes'])}\t{state}"
