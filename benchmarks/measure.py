"""Running one command of a program to its end, and what that cost.

- Wall seconds: from the start to the end of the command's first process.
- CPU seconds of the client: user + system of the command and everything it started (`wait4`).
  Processes that outlive their parent come to this process, a subreaper, and are counted too.
- CPU seconds of the server: difference of its `/proc/PID/stat`, summed over its process tree.
- Peak memory: largest sum of the proportional set sizes (PSS) of all processes of the client, and
  of the server, read about every 100 ms. Shared memory is counted once, the page cache is not.
"""

import ctypes
import dataclasses
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.warm import claim_memory

SAMPLE_INTERVAL_S = 0.1
# Reading PSS walks page tables and disturbs what is measured: at most 5 % of the time.
SAMPLE_REST = 19
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SHOWN_LOG_BYTES = 2000
PR_SET_CHILD_SUBREAPER = 36


class CommandFailed(Exception):
    """A program of the comparison ended with an error, so its figures would mean nothing."""


@dataclasses.dataclass(frozen=True)
class Command:
    """One command line of a program, and where it runs."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path

    def options(self) -> dict[str, Any]:
        """Arguments of `subprocess.Popen`; the command gets a process group of its own."""
        return {
            "args": self.argv,
            "env": self.environment,
            "cwd": self.directory,
            "stdin": subprocess.DEVNULL,
            "process_group": 0,
        }


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one command cost. Peaks are None when memory was not sampled."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    client_peak_bytes: int | None
    server_peak_bytes: int | None


class PeakMemory:
    """Samples, in a thread, the memory of one or two process trees while the context is open."""

    def __init__(self, client_pid: int, server_pid: int | None) -> None:
        self._client_pid = client_pid
        self._server_pid = server_pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.client_bytes = 0
        self.server_bytes = 0

    def start(self) -> None:
        """Take the first sample soon."""
        self._thread.start()

    def stop(self) -> None:
        """Wait for the last sample."""
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        rest_s = 0.0
        while not self._ended.wait(rest_s):
            started = time.monotonic()
            self.client_bytes = max(self.client_bytes, tree_memory_bytes(self._client_pid))
            if self._server_pid is not None:
                self.server_bytes = max(self.server_bytes, tree_memory_bytes(self._server_pid))
            rest_s = max(SAMPLE_INTERVAL_S, SAMPLE_REST * (time.monotonic() - started))


def measure(
    command: Command, server_pid: int | None, log: Path, *, sample_memory: bool, claim_bytes: int
) -> Usage:
    """Run `command` to its end; its output is appended to `log`.

    What earlier commands wrote is first brought to the disk, so that it costs this one nothing,
    and `claim_bytes` of free memory are made ready for it.
    Raises CommandFailed when the exit code is not 0.
    """
    _adopt_orphans()
    os.sync()
    claim_memory(claim_bytes)
    server_before_s = tree_cpu_s(server_pid)
    with log.open("ab") as output:
        started = time.monotonic()
        process = subprocess.Popen(**command.options(), stdout=output, stderr=output)
        memory = PeakMemory(process.pid, server_pid) if sample_memory else None
        if memory:
            memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if memory:
            memory.stop()
        client_cpu_s = usage.ru_utime + usage.ru_stime + _reap_group(process.pid)
    server_cpu_s = tree_cpu_s(server_pid) - server_before_s
    if process.returncode != 0:
        raise failure(command, process.returncode, log)
    return Usage(
        wall_s=wall_s,
        client_cpu_s=client_cpu_s,
        server_cpu_s=server_cpu_s,
        client_peak_bytes=memory.client_bytes if memory else None,
        server_peak_bytes=memory.server_bytes if memory else None,
    )


def failure(command: Command, exit_code: int, log: Path) -> CommandFailed:
    """The error that shows a command, its exit code and the end of its log."""
    end = log.read_bytes()[-SHOWN_LOG_BYTES:].decode(errors="replace")
    return CommandFailed(f"{' '.join(command.argv)}: exit code {exit_code}\n{end}")


def process_tree(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    tree = [pid]
    for parent in tree:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                children = Path(f"/proc/{parent}/task/{task}/children").read_text()
                tree.extend(map(int, children.split()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return tree


def tree_memory_bytes(pid: int) -> int:
    """Sum of the proportional set sizes of `pid` and its descendants."""
    return sum(map(_memory_bytes, process_tree(pid)))


def tree_cpu_s(pid: int | None) -> float:
    """CPU seconds of `pid`, its descendants, and those of them that have ended."""
    return 0.0 if pid is None else sum(map(process_cpu_s, process_tree(pid)))


def _memory_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def process_cpu_s(pid: int) -> float:
    """CPU seconds of one process, and of its children that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # After the name in parentheses: field 3 on; utime, stime, cutime, cstime are fields 14 to 17.
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / CLOCK_TICKS_PER_S


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def _reap_group(group: int) -> float:
    """Wait for what a command has left behind; return the CPU seconds of that."""
    cpu_s = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-group, 0)
        except ChildProcessError:
            return cpu_s
        cpu_s += usage.ru_utime + usage.ru_stime
