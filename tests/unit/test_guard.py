"""The guard itself: it lets clean tests pass, and fails each kind of loose end."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]

CONFTEST = """
from tests.conftest import flush_logged_errors, no_loose_ends, pytest_configure
"""

# Each test's name says what becomes of it.
SUITE = """
import gc
import pytest, pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python import log

anything = Factory.forProtocol(Protocol)

def listen():
    return TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(anything)

def drop_in_a_cycle():
    failed = fail(ValueError("dropped"))
    failed.itself = failed


def test_passes_without_a_reactor():
    pass

@pytest_twisted.ensureDeferred
async def test_passes_with_a_reactor():
    await deferLater(reactor, 0.001, lambda: None)

def test_fails_for_a_dropped_deferred():
    fail(ValueError("dropped"))

def test_fails_for_a_deferred_dropped_in_a_cycle():
    gc.disable()
    drop_in_a_cycle()
    gc.enable()

def test_passes_after_failures():
    pass

def test_fails_for_a_logged_failure():
    try:
        raise ValueError("logged")
    except ValueError:
        Logger().failure("oh")

def test_fails_for_a_failure_logged_the_old_way():
    log.err(ValueError("logged"))

def test_passes_when_flushed(flush_logged_errors):
    log.err(ValueError("logged"))
    drop_in_a_cycle()
    assert len(flush_logged_errors(KeyError)) == 0
    assert len(flush_logged_errors(ValueError)) == 2

def test_fails_when_something_else_was_flushed(flush_logged_errors):
    log.err(ValueError("logged"))
    flush_logged_errors(KeyError)

def test_fails_for_a_delayed_call():
    reactor.callLater(1000, lambda: None)

def test_passes_for_a_cancelled_call():
    reactor.callLater(1000, lambda: None).cancel()

@pytest_twisted.ensureDeferred
async def test_fails_for_an_open_port():
    await listen()

@pytest_twisted.ensureDeferred
async def test_passes_for_a_closed_port_and_connection():
    port = await listen()
    target = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client = await target.connect(anything)
    client.transport.loseConnection()
    await port.stopListening()

def test_fails_for_a_forgotten_coroutine():
    async def forgotten():
        pass
    forgotten()

@pytest_twisted.ensureDeferred
async def test_passes_at_the_end():
    await deferLater(reactor, 0, lambda: None)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bool]:
    """For each test of the suite: was it clean?"""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_suite.py").write_text(SUITE)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    finished = subprocess.run(
        [*command, f"--junit-xml={report}", "--rootdir", str(folder), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 1, finished.stdout + finished.stderr
    clean: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["name"]
        bad = case.find("failure") is not None or case.find("error") is not None
        clean[name] = clean.get(name, True) and not bad
    return clean


def test_clean_tests_pass(outcomes: dict[str, bool]) -> None:
    passed = {name for name in outcomes if name.startswith("test_passes")}
    assert len(passed) == 7
    assert {name for name in passed if not outcomes[name]} == set()


def test_loose_ends_fail(outcomes: dict[str, bool]) -> None:
    failed = {name for name in outcomes if name.startswith("test_fails")}
    assert len(failed) == 8
    assert {name for name in failed if outcomes[name]} == set()
