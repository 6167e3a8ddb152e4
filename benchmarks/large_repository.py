"""`python -m benchmarks large-repository`: what a repository of many years costs, each day.

First a data directory is made (`benchmarks.large_data`: 1,000 clients with 100 generations each,
and 10 million chunks, unless told otherwise). Then, while no server runs, a process of its own
decides what upkeep would do (`benchmarks.large_decisions`). At last a real `twistd obnam-server` is
started on it, and clients ask it, over TLS: alone first, then while the server's own first round of
upkeep goes on, which begins a minute after the start. All the while a new connection asks for
`/health` again and again. It ends once compaction is well under way: the scrub, which is next,
would find that most segments hold nothing.
"""

import argparse
import dataclasses
import json
import secrets
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from benchmarks.large_data import Made, home_in, make, token_of
from benchmarks.large_history import Shape
from benchmarks.measure import CommandFailed, tree_cpu_s, tree_memory_bytes
from benchmarks.report import MB, machine
from benchmarks.serving import LiveServer, RawClient
from obnam.model.chunk import SetSum
from obnam.model.ids import ChunkId, ClientName, GenerationId
from obnam.wire.limits import GENERATIONS_PAGE_MAX, MISSING_IDS_MAX
from obnam.wire.messages import Commit
from obnam_server.store.index.sqlite import SqliteIndex
from obnam_server.store.store import INDEX_NAME
from obnam_server.upkeep.rounds import FIRST_ROUND_S

PROBES = 20
"""Clients that ask, each for itself."""

UPKEEP_S_MAX = 600.0
"""How long clients go on after the start, at most: the first round begins after 60 s."""

PROBE_S = 0.2
SAMPLE_S = 0.5
PAUSE_S = 0.5
"""Between the backups while upkeep goes on."""

# What must hold.
COMMIT_S_MAX = 0.2
COLLECTION_S_MAX = 10.0
SERVER_BYTES_MAX = 600 * MB
HEALTH_S_MAX = 1.0


@dataclasses.dataclass
class Times:
    """Seconds that requests of one kind took."""

    seconds: list[float] = dataclasses.field(default_factory=list)

    def timed(self, started: float) -> None:
        """Note one that ends now. ``started``: `time.monotonic`."""
        self.seconds.append(time.monotonic() - started)

    def to_json(self) -> dict[str, float]:
        """How many, the median and the worst."""
        return {
            "count": len(self.seconds),
            "median_s": statistics.median(self.seconds),
            "worst_s": max(self.seconds),
        }


class Watch:
    """Watches the server in a thread: how long `/health` takes, and how much memory it has."""

    def __init__(self, server: LiveServer) -> None:
        self.health = Times()
        self.peak_bytes = 0
        self._server = server
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._probe, self._sample)]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _probe(self) -> None:
        while not self._ended.wait(PROBE_S):
            client = RawClient(self._server.address, "")
            started = time.monotonic()
            try:
                client.ask("GET", "/health")
            finally:
                self.health.timed(started)
                client.close()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.peak_bytes = max(self.peak_bytes, tree_memory_bytes(self._server.pid))


@dataclasses.dataclass(frozen=True)
class Newest:
    """A client's newest generation: its sum, and the ids of some of its chunks."""

    generation: GenerationId
    sum: SetSum
    ids: Sequence[ChunkId]


def newest_of(made: Made) -> dict[ClientName, Newest]:
    """Of each client that asks. Only while no server runs."""
    index = SqliteIndex(home_in(made.data) / INDEX_NAME)
    found = {}
    for name in made.probes:
        record = index.latest(name)
        numbers = (
            None if record is None else index.generation_set(record.summary.receipt.generation)
        )
        if record is None or numbers is None:
            raise CommandFailed(f"{name} has no generation")
        ids = [made.shape.chunk_id(number) for number in islice(numbers, MISSING_IDS_MAX)]
        found[name] = Newest(record.summary.receipt.generation, record.sum, ids)
    index.close(clean=True)
    return found


class Probe:
    """One client, which backs up without anything having changed."""

    def __init__(self, server: LiveServer, name: ClientName, newest: Newest) -> None:
        self._client = RawClient(server.address, token_of(name))
        self._known = newest
        self._newest = newest.generation

    def describe(self, times: Times) -> int:
        """Ask what there is; the bytes used."""
        started = time.monotonic()
        description = self._get("/v1/repository")
        times.timed(started)
        return int(description["used_bytes"])

    def back_up(self, begin: Times, missing: Times, commit: Times) -> None:
        """A session, a question for chunks, all of which are there, and a commit."""
        started = time.monotonic()
        session = self._client.json("POST", "/v1/sessions", {"base": self._newest})["session"]
        begin.timed(started)
        started = time.monotonic()
        status, _, bits = self._client.ask(
            "POST", "/v1/chunks/missing", b"".join(self._known.ids), session
        )
        missing.timed(started)
        if status != 200 or any(bits):
            raise CommandFailed(f"chunks are missing: {status} {bits.hex()}")
        generation = GenerationId(secrets.token_hex(16))
        document = Commit(
            generation=generation,
            previous=self._newest,
            chunks=self._known.sum,
            manifest_id=ChunkId(b"\x01" + secrets.token_bytes(32)),
            manifest=secrets.token_bytes(20_000),
        ).to_json()
        started = time.monotonic()
        self._client.json("POST", "/v1/generations", document, session)
        commit.timed(started)
        self._newest = generation

    def list_all(self, pages: Times) -> int:
        """All generations, page by page; how many."""
        count = after = 0
        while True:
            started = time.monotonic()
            page = self._get(f"/v1/generations?after={after}")["generations"]
            pages.timed(started)
            count += len(page)
            if len(page) < GENERATIONS_PAGE_MAX:
                return count
            after = page[-1]["sequence"]

    def close(self) -> None:
        """Say goodbye."""
        self._client.close()

    def _get(self, path: str) -> Any:
        status, _, answer = self._client.ask("GET", path)
        if status != 200:
            raise CommandFailed(f"GET {path}: {status} {answer!r}")
        return json.loads(answer)


def serve(made: Made, folder: Path, commands: Path, left_bytes: int) -> dict[str, Any]:
    """Start the server, ask it, and let it look after itself meanwhile; the figures.

    ``left_bytes``: when its upkeep has freed so many, it has decided everything.
    """
    names = ("list, a page", "describe", "begin a session", "missing", "commit")
    alone, beside = ({name: Times() for name in names} for _ in range(2))
    newest = newest_of(made)
    server = LiveServer(commands, folder)
    try:
        started = time.monotonic()
        probes = [Probe(server, name, known) for name, known in newest.items()]
        opening = Times()
        probes[0].describe(opening)  # opens the repository
        with Watch(server) as watch:
            listing_s = time.monotonic()
            count = probes[0].list_all(alone["list, a page"])
            listing_s = time.monotonic() - listing_s
            _ask_all(probes, alone)
            before_bytes = probes[0].describe(Times())
            freed_bytes = 0
            while freed_bytes < left_bytes and time.monotonic() < started + UPKEEP_S_MAX:
                for probe in probes:
                    _ask_all([probe], beside)
                    time.sleep(PAUSE_S)
                probes[0].list_all(beside["list, a page"])
                freed_bytes = before_bytes - probes[0].describe(Times())
            upkeep_s = time.monotonic() - started - FIRST_ROUND_S
        cpu_s = tree_cpu_s(server.pid)
        for probe in probes:
            probe.close()
    finally:
        server.stop()
    if freed_bytes < left_bytes:
        raise CommandFailed(f"within {UPKEEP_S_MAX} s the server has freed {freed_bytes} bytes")
    return {
        "listed": count,
        "listing_s": listing_s,
        "opening_s": opening.seconds[0],
        "alone": {name: times.to_json() for name, times in alone.items()},
        "beside": {name: times.to_json() for name, times in beside.items()},
        "health": watch.health.to_json(),
        "freed_bytes": freed_bytes,
        "upkeep_s": upkeep_s,
        "peak_bytes": watch.peak_bytes,
        "cpu_s": cpu_s,
    }


def _ask_all(probes: Sequence[Probe], times: dict[str, Times]) -> None:
    for probe in probes:
        probe.describe(times["describe"])
        probe.back_up(times["begin a session"], times["missing"], times["commit"])


def failures(decided: dict[str, Any], served: dict[str, Any]) -> list[str]:
    """What does not hold, in words."""
    steps = decided["steps"]
    checks = (
        ("commit, median", served["alone"]["commit"]["median_s"], COMMIT_S_MAX),
        ("commit beside upkeep, median", served["beside"]["commit"]["median_s"], COMMIT_S_MAX),
        ("decision of collection", steps["collection: decide"]["wall_s"], COLLECTION_S_MAX),
        ("decision of retention", steps["retention: decide"]["wall_s"], COLLECTION_S_MAX),
        ("/health, worst", served["health"]["worst_s"], HEALTH_S_MAX),
    )
    said = [f"{name}: {s:.2f} s, at most {most}" for name, s, most in checks if s > most]
    if served["peak_bytes"] > SERVER_BYTES_MAX:
        said.append(f"memory of the server: {served['peak_bytes'] / MB:.0f} MB")
    return said


def table(decided: dict[str, Any], served: dict[str, Any]) -> str:
    """Two Markdown tables."""
    lines = ["| request | median s | worst s | beside upkeep: median s | worst s |"]
    lines.append("|---|---|---|---|---|")
    for name, alone in served["alone"].items():
        beside = served["beside"][name]
        figures = (alone["median_s"], alone["worst_s"], beside["median_s"], beside["worst_s"])
        lines.append(f"| {name} | {' | '.join(f'{figure:.3f}' for figure in figures)} |")
    health = served["health"]
    lines.append(
        f"| /health, all the while | {health['median_s']:.3f} | {health['worst_s']:.3f} | | |"
    )
    lines += ["", "| step of upkeep | wall s | CPU s |", "|---|---|---|"]
    for name, step in decided["steps"].items():
        lines.append(f"| {name} | {step['wall_s']:.2f} | {step['cpu_s']:.2f} |")
    lines += [
        "",
        f"All {served['listed']:,} generations listed in {served['listing_s']:.1f} s; "
        f"the repository opened in {served['opening_s']:.1f} s; "
        f"the server's memory {served['peak_bytes'] / MB:.0f} MB, "
        f"that of the process that decided {decided['peak_bytes'] / MB:.0f} MB; "
        f"the server's upkeep had freed {served['freed_bytes'] / MB:,.0f} MB "
        f"{served['upkeep_s']:.0f} s after it began.",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code: 1 when something failed, or does not hold."""
    given = _parse(arguments)
    folder = given.work / "large-repository"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shape = Shape(given.clients, given.generations, given.chunks)
    try:
        started = time.monotonic()
        made = make(folder / "data", shape, min(PROBES, shape.clients))
        index_bytes = (home_in(made.data) / INDEX_NAME).stat().st_size
        _say(f"made in {time.monotonic() - started:.0f} s; index: {index_bytes / MB:,.0f} MB")
        deciding = (sys.executable, "-m", "benchmarks.large_decisions", str(made.data))
        decided = json.loads(subprocess.run(deciding, stdout=subprocess.PIPE, check=True).stdout)
        _say("decided")
        served = serve(made, folder, given.obnam_bin, decided["left_bytes"])
    except (CommandFailed, subprocess.CalledProcessError) as error:
        _say(f"benchmarks: {error}")
        return 1
    finally:
        if not given.keep:
            shutil.rmtree(folder / "data", ignore_errors=True)
    failed = failures(decided, served)
    document = {
        "machine": machine(),
        "repository": {**attrs.asdict(shape), "index_bytes": index_bytes},
        "decided": decided,
        "served": served,
        "failed": failed,
    }
    output = given.output or given.work / "large-repository.json"
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(table(decided, served))
    for line in failed:
        _say(f"does not hold: {line}")
    _say(f"written: {output}")
    return 1 if failed else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks large-repository",
        description="Measure a repository of many years.",
    )
    shape = Shape()
    parser.add_argument("--clients", type=int, default=shape.clients)
    parser.add_argument("--generations", type=int, default=shape.generations, help="of each client")
    parser.add_argument("--chunks", type=int, default=shape.chunks, help="in the repository")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/obnam-benchmark"))
    parser.add_argument("--obnam-bin", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--keep", action="store_true", help="leave the data directory there")
    parser.add_argument("--output", type=Path, help="the JSON; default: in --work")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
