"""`python -m benchmarks workers`: what a gigabyte costs the process that has the store.

One raw client over TLS uploads bodies of incompressible chunks, and fetches them again: from a
server alone, and from one with each number of workers. The client and the server share the
processors of this machine, so that the wall time of more workers tells little here; the CPU
seconds of each process do.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import CommandFailed, process_cpu_s, process_tree
from benchmarks.report import machine
from benchmarks.serving import LiveServer, RawClient

CHUNK_BYTES = 512 * 1024
CHUNKS_OF_A_BODY = 31
"""Nearly 16 MiB, the largest body there may be."""

COUNTS = "0,1,2"
BODIES = 64
"""A gigabyte."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one operation, for each gigabyte, in seconds."""

    workers: int
    operation: str
    wall_s: float
    owner_cpu_s: float
    workers_cpu_s: float


def main(arguments: Sequence[str]) -> int:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks workers", description=__doc__)
    parser.add_argument("--workers", default=COUNTS, help=f"default: {COUNTS}")
    parser.add_argument("--bodies", type=int, default=BODIES, help="of 16 MB each")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/obnam-benchmark"))
    parser.add_argument("--obnam-bin", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--output", type=Path, help="the JSON; default: workers.json in --work")
    given = parser.parse_args(arguments)
    found: list[Cost] = []
    for count in map(int, given.workers.split(",")):
        folder = given.work / "workers"
        shutil.rmtree(folder, ignore_errors=True)
        server = LiveServer(given.obnam_bin, folder, workers=count)
        try:
            found += costs(server, count, given.bodies)
        finally:
            server.stop()
        shutil.rmtree(folder)
    output = given.output or given.work / "workers.json"
    document = {
        "bodies": given.bodies,
        "machine": machine(),
        "costs": [dataclasses.asdict(each) for each in found],
    }
    output.write_text(json.dumps(document, indent=1))
    print(table(found))
    return 0


def costs(server: LiveServer, count: int, bodies: int) -> list[Cost]:
    """Of uploads, and of fetches of the same chunks."""
    client = server.client("client")
    session = client.json("POST", "/v1/sessions", {"base": None})["session"]
    ids: list[list[bytes]] = []

    def upload() -> None:
        for _ in range(bodies):
            chunks = [b"\x01" + os.urandom(32) for _ in range(CHUNKS_OF_A_BODY)]
            ids.append(chunks)
            length = CHUNK_BYTES.to_bytes(4, "big")
            body = b"".join(chunk + length + os.urandom(CHUNK_BYTES) for chunk in chunks)
            _check(client.ask("POST", "/v1/chunks", body, session)[0], 204)

    def fetch() -> None:
        for chunks in ids:
            _check(client.ask("POST", "/v1/chunks/fetch", b"".join(chunks))[0], 200)

    client.ask("GET", "/health")  # whoever answers has been started
    found = [
        _cost(server, client, count, name, work, bodies)
        for name, work in (("upload", upload), ("fetch", fetch))
    ]
    client.close()
    return found


def _cost(
    server: LiveServer,
    client: RawClient,
    count: int,
    operation: str,
    work: Callable[[], None],
    bodies: int,
) -> Cost:
    os.sync()
    owner, *workers = process_tree(server.pid)
    before = process_cpu_s(owner), sum(map(process_cpu_s, workers))
    began = time.monotonic()
    work()
    gigabytes = bodies * CHUNKS_OF_A_BODY * CHUNK_BYTES / 1e9
    return Cost(
        count,
        operation,
        (time.monotonic() - began) / gigabytes,
        (process_cpu_s(owner) - before[0]) / gigabytes,
        (sum(map(process_cpu_s, workers)) - before[1]) / gigabytes,
    )


def _check(status: int, wanted: int) -> None:
    if status != wanted:
        raise CommandFailed(f"the server answered {status}, not {wanted}")


def table(found: Sequence[Cost]) -> str:
    """For reading."""
    lines = ["| workers | operation | wall s/GB | owner CPU s/GB | workers CPU s/GB |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for each in found:
        lines.append(
            f"| {each.workers} | {each.operation} | {each.wall_s:.2f} | {each.owner_cpu_s:.2f} "
            f"| {each.workers_cpu_s:.2f} |"
        )
    return "\n".join(lines)
