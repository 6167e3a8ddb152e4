"""A real server for a benchmark, and a client that sends raw requests of the protocol over TLS."""

import base64
import dataclasses
import hashlib
import http.client
import json
import os
import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Command, CommandFailed
from benchmarks.programs import Server, free_port, run_command

ANSWER_S = 120.0
"""A server that is silent for longer has failed."""

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers (names in lower case), body."""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server is: its port on this machine, and its certificate."""

    port: int
    certificate: Path


class LiveServer:
    """`twistd obnam-server` over TLS in `folder`, as a process of its own, until `stop`."""

    def __init__(self, commands: Path, folder: Path, workers: int = 0) -> None:
        """Start it. Raises CommandFailed."""
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.port = free_port()
        self.pin = ""  # known with the first invitation
        self._commands = commands
        folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "data_directory": str(self.data),
            "listen": [f"tcp:{self.port}:interface=127.0.0.1"],
            "public_url": f"https://127.0.0.1:{self.port}",
            "workers": workers,
        }
        self._config = folder / "server.yaml"
        self._config.write_text(json.dumps(configuration))
        twistd = (str(commands / "twistd"), "-n", "--pidfile=", "obnam-server")
        self._server = Server(self._command(*twistd), self.port, self.log)
        self.pid = self._server.pid
        self.address = Address(self.port, self.data / "certificate.pem")

    def invite(self, name: str, repository: str | None = None) -> str:
        """The invitation line for a client."""
        add = ("client", "add", name, "--repository", repository or name)
        output = run_command(self._command(str(self._commands / "obnam-server")), *add)
        return output.splitlines()[-1]

    def client(self, name: str, repository: str | None = None) -> "RawClient":
        """A client that has enrolled."""
        code, self.pin = re.split(r"[#.]", self.invite(name, repository).rpartition("/")[2])[1:]
        token = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        client = RawClient(self.address, token)
        digest = hashlib.sha256(token.encode()).hexdigest()
        client.json("POST", "/v1/enrolment", {"code": code, "token_sha256": digest})
        return client

    def stop(self) -> None:
        """End it, and wait for that."""
        self._server.stop()

    def _command(self, *argv: str) -> Command:
        return Command((*argv, "--config", str(self._config)), os.environ, self.folder)


class RawClient:
    """One connection that is kept, and one token."""

    def __init__(self, address: Address, token: str) -> None:
        context = ssl.create_default_context(cafile=str(address.certificate))
        context.check_hostname = False
        self.token = token
        self._connection = http.client.HTTPSConnection(
            "127.0.0.1", address.port, timeout=ANSWER_S, context=context
        )

    def ask(
        self, method: str, path: str, body: bytes | None = None, session: str | None = None
    ) -> Answer:
        """One request, its answer read whole."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if session is not None:
            headers["Obnam-Session"] = session
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return response.status, names, response.read()

    def json(self, method: str, path: str, body: object, session: str | None = None) -> Any:
        """A JSON request that must succeed. Raises CommandFailed."""
        status, _, answer = self.ask(method, path, json.dumps(body).encode(), session)
        if not 200 <= status < 300:
            raise CommandFailed(f"{method} {path}: {status} {answer!r}")
        return json.loads(answer) if answer else None

    def close(self) -> None:
        """Say goodbye."""
        self._connection.close()
