"""`python -m benchmarks many-clients`: many computers back up at once to one server.

Each client is the real `obnam` command with a home of its own, and one worker; the server is a real
`twistd obnam-server`, over TLS, all on this machine. The clients leave the processor to the server
when it wants it, as if they ran elsewhere. First a few clients at a time, for comparison,
then all at once. While they run, a new connection asks for `/health` again and again.

Each tree has a few MB that nobody else has, and some that all have. The clients are spread over a
few repositories; their tokens and keys are written for them, as `obnam init` would.
"""

import argparse
import base64
import dataclasses
import json
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.measure import CommandFailed, tree_cpu_s, tree_memory_bytes
from benchmarks.report import MB, machine
from benchmarks.serving import Address, LiveServer, RawClient

CLIENTS = 100
FEW = 4
"""So many at a time reach the throughput that the many are compared with."""

FEW_ROUNDS = 3
"""The comparison is the median of these."""

REPOSITORIES = 4
CLIENT_BYTES = 130 * MB
"""Memory that one client takes, with its worker."""

NICENESS = 19
"""Of the clients, which would be on computers of their own: so the server is not short of CPU."""

PROBE_S = 0.2
SAMPLE_S = 0.25

LARGE_FILES, LARGE_BYTES = 4, 900_000
SMALL_FILES, SMALL_BYTES = 100, 4_000
COMMON_FILES, COMMON_BYTES = 2, 500_000

# What must hold.
THROUGHPUT_MIN = 0.8
SERVER_BYTES_MAX = 400 * MB
SLOWEST_MAX = 3.0
HEALTH_S_MAX = 1.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """One backup: how long it took, how it ended, and what it said about waiting."""

    seconds: float
    code: int
    retries: int
    said: str


@dataclasses.dataclass(frozen=True)
class Probe:
    """One answer of `/health`: when it was asked for, how long it took (0 as status: none came)."""

    at_s: float
    seconds: float
    status: int


@dataclasses.dataclass(frozen=True)
class Figures:
    """Some clients at once."""

    clients: int
    failures: int
    retries: int
    seconds: float
    mb_per_s: float
    median_s: float
    slowest_s: float
    health_probes: int
    slowest_health_s: float
    slowest_health_at_s: float
    server_peak_mb: float
    server_cpu_s: float
    server_queued_s: float
    """How long the server's reactor was ready to run, and the machine had no processor for it: what
    the clients, or others, on this machine cost it."""
    server_queued_most: float
    """The largest part of a quarter of a second of that."""


class Watch:
    """Probes the server's health, in a process of its own, and samples its memory in a thread."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        spawning = multiprocessing.get_context("spawn")
        self._pipe, other = spawning.Pipe()
        self._prober = spawning.Process(target=probe, args=(server.address, other), daemon=True)
        self.probes: list[Probe] = []
        self.peak_bytes = 0
        self.queued_s = 0.0
        self.queued_most = 0.0

    def __enter__(self) -> "Watch":
        self._thread.start()
        self._prober.start()
        self._pipe.recv()  # it is ready
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._pipe.send("enough")
        self.probes = self._pipe.recv()
        self._prober.join()
        self._thread.join()

    def _sample(self) -> None:
        before, at_s = _queued_s(self._server.pid), time.monotonic()
        while not self._ended.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, tree_memory_bytes(self._server.pid))
            queued, now_s = _queued_s(self._server.pid), time.monotonic()
            self.queued_s += queued - before
            self.queued_most = max(self.queued_most, (queued - before) / (now_s - at_s))
            before, at_s = queued, now_s


def probe(address: Address, pipe: Connection) -> None:
    """Ask for `/health`, each time on a new connection, until something comes by `pipe`."""
    probes: list[Probe] = []
    pipe.send("ready")
    started = time.monotonic()
    while not pipe.poll(PROBE_S):
        began = time.monotonic()
        try:
            client = RawClient(address, "")
            status, _, _ = client.ask("GET", "/health")
            client.close()
        except OSError:
            status = 0
        probes.append(Probe(began - started, time.monotonic() - began, status))
    pipe.recv()
    pipe.send(probes)


class Computer:
    """One client: its home, and what it backs up."""

    def __init__(
        self, server: LiveServer, commands: Path, folder: Path, repository: str, master: bytes
    ) -> None:
        self.folder = folder
        self._command = ("nice", "-n", str(NICENESS), str(commands / "obnam"), "--quiet", "backup")
        configuration = folder / ".config" / "obnam"
        configuration.mkdir(parents=True)
        live = folder / "live"
        live.mkdir()
        settings = {"roots": [str(live)], "workers": 1}
        (configuration / "obnam.yaml").write_text(json.dumps(settings))
        client = server.client(folder.name, repository)
        client.close()
        secrets = {
            "format": 1,
            "url": f"https://127.0.0.1:{server.port}",
            "pin": server.pin,
            "repository_directory": None,
            "client": folder.name,
            "repository": repository,
            "token": client.token,
            "master_key": base64.b64encode(master).decode(),
        }
        path = configuration / "secrets.yaml"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in secrets.items()))
        self.tree_bytes = _write_tree(live)

    def back_up(self) -> Ended:
        """Run `obnam backup`, and wait for it."""
        environment = {
            name: text for name, text in os.environ.items() if not name.startswith("XDG_")
        }
        began = time.monotonic()
        done = subprocess.run(
            self._command,
            env={**environment, "HOME": str(self.folder)},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        seconds = time.monotonic() - began
        return Ended(seconds, done.returncode, done.stderr.count("trying again in"), done.stderr)


def main(arguments: Sequence[str]) -> int:
    """Run it; 1: something that must hold does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks many-clients", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--workers", type=int, default=0, help="of the server; default: 0")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/obnam-benchmark"))
    parser.add_argument("--obnam-bin", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--output", type=Path, help="default: many-clients.json in --work")
    given = parser.parse_args(arguments)
    room = _available_bytes() // CLIENT_BYTES
    if room < given.clients:
        raise CommandFailed(f"there is memory for {room} clients at once; use --clients {room}")
    folder = given.work / "many-clients"
    shutil.rmtree(folder, ignore_errors=True)
    few = [
        run(given.obnam_bin, folder / f"few-{number}", FEW, number, given.workers)
        for number in range(FEW_ROUNDS)
    ]
    many = run(given.obnam_bin, folder / "many", given.clients, FEW_ROUNDS, given.workers)
    compared = sorted(few, key=lambda each: each.mb_per_s)[FEW_ROUNDS // 2]
    checks = check(compared, many)
    output = given.output or given.work / "many-clients.json"
    document = {
        "machine": machine(),
        "workers": given.workers,
        "few": [dataclasses.asdict(each) for each in few],
        "many": dataclasses.asdict(many),
        "checks": checks,
    }
    output.write_text(json.dumps(document, indent=1))
    print(table([compared, many]))
    for name, holds in checks.items():
        print(f"{'holds' if holds else 'FAILS'}: {name}")
    shutil.rmtree(folder)
    return 0 if all(checks.values()) else 1


def run(commands: Path, folder: Path, clients: int, seed: int, workers: int) -> Figures:
    """So many clients at once, on a new server. Raises CommandFailed when one does not answer."""
    chance = random.Random(seed)
    server = LiveServer(commands, folder / "server", workers)
    try:
        masters = [chance.randbytes(32) for _ in range(REPOSITORIES)]
        computers = [
            Computer(
                server,
                commands,
                folder / f"client-{number}",
                f"repository-{number % REPOSITORIES}",
                masters[number % REPOSITORIES],
            )
            for number in range(clients)
        ]
        os.sync()
        print(f"{clients} clients at once", file=sys.stderr, flush=True)
        return _measured(server, computers)
    finally:
        server.stop()


def _measured(server: LiveServer, computers: Sequence[Computer]) -> Figures:
    ended: list[Ended] = []

    def back_up(computer: Computer) -> None:
        ended.append(computer.back_up())

    threads = [threading.Thread(target=back_up, args=(each,)) for each in computers]
    cpu_before_s = tree_cpu_s(server.pid)
    with Watch(server) as watch:
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
    for each in ended:
        if each.code:
            print(each.said, file=sys.stderr)
    for each_probe in watch.probes:
        if each_probe.status != 200:
            raise CommandFailed(f"/health: {each_probe}")
    slowest = max(watch.probes, key=lambda each: each.seconds)
    times = [each.seconds for each in ended]
    return Figures(
        clients=len(computers),
        failures=sum(each.code != 0 for each in ended),
        retries=sum(each.retries for each in ended),
        seconds=seconds,
        mb_per_s=sum(each.tree_bytes for each in computers) / MB / seconds,
        median_s=statistics.median(times),
        slowest_s=max(times),
        health_probes=len(watch.probes),
        slowest_health_s=slowest.seconds,
        slowest_health_at_s=slowest.at_s,
        server_peak_mb=watch.peak_bytes / MB,
        server_cpu_s=tree_cpu_s(server.pid) - cpu_before_s,
        server_queued_s=watch.queued_s,
        server_queued_most=watch.queued_most,
    )


def check(few: Figures, many: Figures) -> dict[str, bool]:
    """What must hold -> whether it does."""
    ratio = many.mb_per_s / few.mb_per_s
    slowest = many.slowest_s / many.median_s
    return {
        f"no backup fails ({many.failures})": many.failures == 0,
        f"throughput is {ratio:.2f} of what {few.clients} reach (at least {THROUGHPUT_MIN})": (
            ratio >= THROUGHPUT_MIN
        ),
        f"the server peaks at {many.server_peak_mb:.0f} MB (below {SERVER_BYTES_MAX // MB})": (
            many.server_peak_mb * MB < SERVER_BYTES_MAX
        ),
        f"the slowest takes {slowest:.2f} of the median (at most {SLOWEST_MAX})": (
            slowest <= SLOWEST_MAX
        ),
        f"the slowest health answer took {many.slowest_health_s:.2f} s (below {HEALTH_S_MAX})": (
            many.slowest_health_s < HEALTH_S_MAX
        ),
    }


def table(rows: Sequence[Figures]) -> str:
    """For reading."""
    names = [each.name for each in dataclasses.fields(Figures)]
    lines = []
    for name in names:
        values: list[Any] = [getattr(row, name) for row in rows]
        shown = [f"{each:12.2f}" if isinstance(each, float) else f"{each:12}" for each in values]
        lines.append(f"{name:18}{''.join(shown)}")
    return "\n".join(lines)


def _write_tree(live: Path) -> int:
    """Own content, and content that all have; its bytes."""
    own, common = random.Random(os.urandom(16)), random.Random(0)
    plan = (
        ("large", LARGE_FILES, LARGE_BYTES, own),
        ("small", SMALL_FILES, SMALL_BYTES, own),
        ("common", COMMON_FILES, COMMON_BYTES, common),
    )
    for name, files, size, chance in plan:
        for number in range(files):
            (live / f"{name}-{number}").write_bytes(chance.randbytes(size))
    return sum(files * size for _, files, size, _ in plan)


def _queued_s(pid: int) -> float:
    """How long the main thread has waited for a processor so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def _available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise CommandFailed("/proc/meminfo does not say how much memory there is")
