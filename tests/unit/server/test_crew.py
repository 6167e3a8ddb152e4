"""Worker processes as the owner sees them: begun, begun again, told to end, killed at last."""

import signal
import socket
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from obnam_server.workers.crew import AGAIN_MAX_S, AGAIN_S, RELOAD_S, STEADY_S, STOP_S, Crew
from obnam_server.workers.report import DESCRIPTOR, RELOADED


@define(eq=False)
class Process:
    """One that was begun."""

    protocol: Any
    command: list[str]
    descriptors: dict[int, Any]
    lifeline: socket.socket
    pid: int
    signals: list[int] = field(factory=list)
    exited: bool = False

    def signalProcess(self, number: int) -> None:  # noqa: N802
        if self.exited:
            raise ProcessExitedAlready
        self.signals.append(number)

    def end(self, status: int = 1) -> None:
        reason = Failure(ProcessTerminated(status))  # type: ignore[no-untyped-call]
        self.protocol.processEnded(reason)
        self.lifeline.close()

    @property
    def was_told_to_end(self) -> bool:
        self.lifeline.setblocking(False)
        try:
            return self.lifeline.recv(1) == b""
        except BlockingIOError:
            return False


class Processes(Clock):
    """A reactor that begins processes, in a way."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Process] = []

    def spawnProcess(  # noqa: N802
        self,
        protocol: Any,
        executable: str,
        args: list[str],
        env: None,
        path: str,
        childFDs: dict[int, Any],  # noqa: N803
    ) -> None:
        assert (env, path) == (None, "/")
        lifeline = socket.socket(fileno=socket.dup(childFDs[3]))
        process = Process(protocol, args, childFDs, lifeline, 1000 + len(self.begun))
        self.begun.append(process)
        protocol.makeConnection(process)


@pytest.fixture
def processes() -> Processes:
    return Processes()


@pytest.fixture
def crew(processes: Processes) -> Crew:
    crew = Crew(cast(Any, processes), Path("/etc/obnam/server.yaml"), [17, 19], 2)
    crew.start()
    return crew


def test_each_inherits_the_listening_sockets(crew: Crew, processes: Processes) -> None:
    assert crew.pids == [1000, 1001]
    for process in processes.begun:
        assert process.command[-4:] == [
            "--config",
            "/etc/obnam/server.yaml",
            "--lifeline=3",
            "--worker=5,6",
        ]
        assert {n: process.descriptors[n] for n in (1, 2, 4)} == dict.fromkeys((1, 2, 4), "r")
        assert {n: process.descriptors[n] for n in (5, 6)} == {5: 17, 6: 19}


def test_one_that_ends_is_begun_again_ever_later(crew: Crew, processes: Processes) -> None:
    wait_s = AGAIN_S
    for _ in range(10):
        processes.begun[-1].end()
        before = len(processes.begun)
        assert crew.pids == [1000]
        processes.advance(wait_s - 0.01)
        assert len(processes.begun) == before
        processes.advance(0.01)
        assert len(processes.begun) == before + 1
        wait_s = min(2 * wait_s, AGAIN_MAX_S)
    processes.advance(STEADY_S)
    processes.begun[-1].end()
    processes.advance(AGAIN_S)
    assert crew.pids == [1000, processes.begun[-1].pid]


async def _stopped(crew: Crew, ends: list[str]) -> None:
    await crew.stop()
    ends.append("all")


def test_the_end_is_waited_for(crew: Crew, processes: Processes) -> None:
    ends: list[str] = []
    Deferred.fromCoroutine(_stopped(crew, ends))
    assert all(process.was_told_to_end for process in processes.begun)
    for process in processes.begun:
        assert ends == []
        process.end(0)
    assert ends == ["all"]
    processes.advance(AGAIN_MAX_S)
    assert len(processes.begun) == 2


def test_one_that_does_not_end_is_killed(crew: Crew, processes: Processes) -> None:
    ends: list[str] = []
    processes.begun[0].end()  # waits to be begun again
    Deferred.fromCoroutine(_stopped(crew, ends))
    processes.advance(STOP_S)
    assert ends == ["all"]
    assert processes.begun[1].signals == [signal.SIGKILL]
    processes.begun[1].end(9)
    processes.advance(AGAIN_MAX_S)
    assert len(processes.begun) == 2


async def _reloaded(crew: Crew, ends: list[str]) -> None:
    await crew.reload()
    ends.append("all")


def test_all_hear_of_another_certificate_and_say_that_they_have_it(
    crew: Crew, processes: Processes
) -> None:
    for _ in range(2):
        ends: list[str] = []
        Deferred.fromCoroutine(_reloaded(crew, ends))
        for process in processes.begun:
            assert process.signals.pop() == signal.SIGHUP
            assert ends == []
            process.protocol.childDataReceived(DESCRIPTOR, RELOADED)
        assert ends == ["all"]
    assert processes.getDelayedCalls() == []


def test_one_that_ends_or_has_ended_has_nothing_to_reload(crew: Crew, processes: Processes) -> None:
    ends: list[str] = []
    processes.begun[0].end()
    processes.begun[1].exited = True  # and nobody was told yet
    Deferred.fromCoroutine(_reloaded(crew, ends))
    assert ends == []
    processes.begun[1].end()
    assert ends == ["all"]


def test_one_that_says_nothing_is_not_waited_for_any_longer(
    crew: Crew, processes: Processes
) -> None:
    ends: list[str] = []
    Deferred.fromCoroutine(_reloaded(crew, ends))
    processes.begun[0].protocol.childDataReceived(DESCRIPTOR, RELOADED)
    with capturedLogs() as events:
        processes.advance(RELOAD_S)
    assert ends == ["all"]
    assert [formatEvent(event) for event in events] == [
        "Worker 2 does not say that it has reloaded"
    ]
    processes.begun[1].protocol.childDataReceived(DESCRIPTOR, RELOADED)  # later


def test_what_they_say_is_logged(crew: Crew, processes: Processes) -> None:
    with capturedLogs() as events:
        for piece in (b"one\ntw", b"o\xff\n", b"never ended"):
            processes.begun[1].protocol.childDataReceived(2, piece)
    said = [formatEvent(event) for event in events]
    assert said == ["Worker 2: one", "Worker 2: two\\xff"]
