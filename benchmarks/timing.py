"""`python -m benchmarks timing`: whether time tells "absent" from "not yours".

Two clients in two repositories of one real server, over TLS. For each kind of request, those for an
id that another has and those for an id that nobody has are sent in turn, in an order drawn anew
for each pair. With them a control: two ids that nobody has.

Shown are the medians, and the rank-sum statistic z: how far apart the two lie, in standard
deviations of what chance alone gives. Up to about 3 nothing is to be seen at this number of tries.
"""

import argparse
import dataclasses
import json
import math
import os
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.report import machine
from benchmarks.serving import LiveServer, RawClient

PAIRS = 2000
WARM_UP = 200
Z_MAX = 4.0
"""Beyond this it is not chance: 1 in 16,000 for one comparison, and there are a dozen."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One kind of request; `path` and `body` are made of an id."""

    name: str
    method: str
    path: Callable[[str], str]
    body: Callable[[str], bytes | None]
    kind: str
    in_session: bool = False


REQUESTS = (
    Request("one chunk", "GET", lambda i: f"/v1/chunks/{i}", lambda _: None, "chunk"),
    Request("fetch", "POST", lambda _: "/v1/chunks/fetch", bytes.fromhex, "chunk"),
    Request("missing", "POST", lambda _: "/v1/chunks/missing", bytes.fromhex, "chunk", True),
    Request("generation", "GET", lambda i: f"/v1/generations/{i}", lambda _: None, "generation"),
    Request(
        "begin on",
        "POST",
        lambda _: "/v1/sessions",
        lambda i: json.dumps({"base": i}).encode(),
        "generation",
    ),
    Request("end session", "DELETE", lambda i: f"/v1/sessions/{i}", lambda _: None, "session"),
    Request(
        "refer",
        "POST",
        lambda i: f"/v1/sessions/{i}/references",
        lambda _: bytes(4) + b"\x01" * 33,
        "session",
    ),
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Times of one kind of request (µs, medians), and how far apart they lie."""

    request: str
    against: str
    absent_us: float
    other_us: float
    z: float


def main(arguments: Sequence[str]) -> int:
    """Run the comparison; 1: time does tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks timing", description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/obnam-benchmark"))
    parser.add_argument("--obnam-bin", type=Path, default=Path(sys.executable).parent)
    parser.add_argument("--output", type=Path, help="the JSON; default: timing.json in --work")
    given = parser.parse_args(arguments)
    folder = given.work / "timing"
    shutil.rmtree(folder, ignore_errors=True)
    server = LiveServer(given.obnam_bin, folder)
    try:
        found = compare_all(server, given.pairs)
    finally:
        server.stop()
    output = given.output or given.work / "timing.json"
    document = {
        "pairs": given.pairs,
        "machine": machine(),
        "comparisons": [dataclasses.asdict(each) for each in found],
    }
    output.write_text(json.dumps(document, indent=1))
    print(table(found))
    return 1 if any(abs(each.z) > Z_MAX for each in found) else 0


def compare_all(server: LiveServer, pairs: int) -> list[Comparison]:
    """All requests: another repository's ids, a colleague's session, and the control."""
    mine = server.client("mine", "home")
    others = server.client("others", "elsewhere")
    colleague = server.client("colleague", "home")
    session = begin(mine)
    theirs = {**back_up(others), "session": begin(others)}
    # The same number of generations and chunks at home: an empty index would answer sooner.
    back_up(mine)
    colleagues = {"session": begin(colleague)}
    found = []
    for request in REQUESTS:
        cases = {"another repository's": theirs, "nobody's (control)": {}}
        if request.kind == "session":
            cases["a colleague's"] = colleagues
        for against, ids in cases.items():
            other = ids.get(request.kind) or absent(request.kind)
            found.append(compare(mine, session, request, against, other, pairs))
            print(f"{request.name}: {against}", file=sys.stderr, flush=True)
    for client in (mine, others, colleague):
        client.close()
    return found


def compare(
    client: RawClient, session: str, request: Request, against: str, other: str, pairs: int
) -> Comparison:
    """One comparison. The absent id is a new one each time, but for its look."""
    absent_s: list[float] = []
    other_s: list[float] = []
    for number in range(WARM_UP + pairs):
        two = [(absent(request.kind), absent_s), (other, other_s)]
        random.shuffle(two)
        for wanted, times in two:
            path, body = request.path(wanted), request.body(wanted)
            began = time.perf_counter()
            client.ask(request.method, path, body, session if request.in_session else None)
            passed = time.perf_counter() - began
            if number >= WARM_UP:
                times.append(passed)
    return Comparison(
        request.name,
        against,
        1e6 * statistics.median(absent_s),
        1e6 * statistics.median(other_s),
        rank_sum_z(absent_s, other_s),
    )


def rank_sum_z(one: Sequence[float], two: Sequence[float]) -> float:
    """Wilcoxon's rank-sum statistic of two samples, as standard deviations from its mean."""
    ordered = sorted([(value, 0) for value in one] + [(value, 1) for value in two])
    rank_sum = sum(rank for rank, (_, which) in enumerate(ordered, 1) if which == 1)
    m, n = len(one), len(two)
    return (rank_sum - n * (m + n + 1) / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def absent(kind: str) -> str:
    """An id of that kind which nobody has."""
    return "01" + os.urandom(32).hex() if kind == "chunk" else os.urandom(16).hex()


def begin(client: RawClient) -> str:
    """A new session."""
    session: str = client.json("POST", "/v1/sessions", {"base": None})["session"]
    return session


def back_up(client: RawClient) -> dict[str, str]:
    """A generation of one chunk; their ids."""
    session, chunk = begin(client), bytes.fromhex(absent("chunk"))
    body = chunk + (1000).to_bytes(4, "big") + os.urandom(1000)
    client.ask("POST", "/v1/chunks", body, session)
    references = (1).to_bytes(4, "big") + chunk
    client.ask("POST", f"/v1/sessions/{session}/references", references)
    commit = {
        "generation": os.urandom(16).hex(),
        "previous": None,
        "count": 1,
        "xor": chunk.hex(),
        "manifest_id": absent("chunk"),
        "manifest": "",
        "partial": False,
    }
    receipt = client.json("POST", "/v1/generations", commit, session)
    return {"chunk": chunk.hex(), "generation": receipt["generation"]}


def table(found: Sequence[Comparison]) -> str:
    """For reading."""
    lines = [f"{'request':12} {'compared with':22} {'absent µs':>10} {'other µs':>10} {'z':>6}"]
    for each in found:
        lines.append(
            f"{each.request:12} {each.against:22} {each.absent_us:10.1f} {each.other_us:10.1f} "
            f"{each.z:6.2f}"
        )
    return "\n".join(lines)
