"""A server that is watched: webhooks over HTTP, and the page for Prometheus."""

import json
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from obnam_server.monitoring.webhooks import signature
from tests.acceptance.computer import TWISTD, Computer
from tests.support.server_process import ServerProcess

SECRET = "a secret of some length"
PATIENCE_S = 60.0


class Hook(ThreadingHTTPServer):
    """Takes events."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.taken: Queue[tuple[dict[str, str], bytes]] = Queue()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.taken.put((dict(self.headers), body))

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        thread = Thread(target=hook.serve_forever, daemon=True)
        thread.start()
        yield hook
        hook.shutdown()
        thread.join()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The socket of the page for Prometheus."""
    return tmp_path / "metrics"


@pytest.fixture
def watched(hook: Hook, page: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "secret").chmod(0o600)
    more = (
        f"metrics_listen: unix:{page}\n"
        f"webhooks: [{{url: '{hook.url}', events: [commit], secret_file: {tmp_path}/secret}}]\n"
    )
    with ServerProcess(tmp_path / "server", more=more, program=TWISTD) as server:
        yield server


def fetched(page: Path) -> str:
    """The page of metrics."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(page))
        connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.read().partition(b"\r\n\r\n")[2].decode()


def test_it_tells_of_a_commit(
    watched: ServerProcess, hook: Hook, page: Path, computer: Computer
) -> None:
    computer.obnam("init", watched.invite("laptop"), "--no-passphrase")
    generation = computer.backup().value("generation-id")
    headers, body = hook.taken.get(timeout=PATIENCE_S)
    event = json.loads(body)
    assert (event["event"], event["client"]) == ("commit", "laptop")
    assert event["generation"] == generation
    assert headers["Obnam-Signature"] == signature(SECRET.encode(), body)
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(fetched(page))
        for sample in family.samples
    }
    assert samples["obnam_server_events_total", "commit"] == 1
    assert samples["obnam_server_answers_total", "POST", "201"] >= 2
    assert "writer" in {labels[0] for name, *labels in samples if name.endswith("queue_depth")}


def test_what_could_not_be_told_is_told_after_a_restart(
    watched: ServerProcess, hook: Hook, computer: Computer
) -> None:
    computer.obnam("init", watched.invite("laptop"), "--no-passphrase")
    hook.shutdown()
    hook.server_close()  # nobody is there now
    computer.backup()
    watched.stop()
    again = Hook.__new__(Hook)
    ThreadingHTTPServer.__init__(again, hook.server_address[:2], Handler)
    again.taken = Queue()
    with again:
        thread = Thread(target=again.serve_forever, daemon=True)
        thread.start()
        watched.start()
        # At the latest when its wait is over: it had failed once.
        _, body = again.taken.get(timeout=PATIENCE_S)
        again.shutdown()
        thread.join()
    assert json.loads(body)["event"] == "commit"
