"""What upkeep decides about a large repository, in a process of its own, while no server runs.

`python -m benchmarks.large_decisions DATA` prints JSON: what each step took, and the memory's peak.
Of what is planned the segments are filled first, so that half a group that is wholly dead, and one
that is not, can be compacted for real. The rest is left to the server.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from attrs import define, field

from benchmarks.large_data import REPOSITORY, fill
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.seams.values import SegmentNumber
from obnam_server.store.store import Store
from obnam_server.upkeep.collect import plan
from obnam_server.upkeep.retain import carry_out, look
from obnam_server.upkeep.retention import Fate

P = ParamSpec("P")
T = TypeVar("T")


@define
class Steps:
    """What was timed: wall and processor seconds of each step, by its name."""

    figures: dict[str, Any] = field(factory=dict)

    def timed(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it, and note what it took."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        result = call(*args, **kwargs)
        self.figures[name] = {
            "wall_s": time.monotonic() - wall_s,
            "cpu_s": time.process_time() - cpu_s,
        }
        return result


def decide(data: Path) -> dict[str, Any]:
    """Take all steps once; what each took."""
    steps = Steps()
    store = Store.open(data, time.time_ns)
    try:
        repository = steps.timed("open the repository", store.repository, REPOSITORY)
        looked = steps.timed("retention: decide", look, repository, time.time_ns())
        _retain(steps, repository)
        shares = steps.timed("collection: decide", repository.collection.shares)
        chosen = steps.timed("compaction: plan", plan, shares, time.time_ns())
        steps.timed("collection: decide again", repository.collection.shares)
        empty = {each.segment: each.size_bytes for each in shares if not each.live_bytes}
        dead = next((group for group in chosen.groups if set(group) <= empty.keys()), ())
        # The other half is left to the server's own upkeep.
        dead = dead[: (len(dead) + 1) // 2]
        holey = next((group for group in chosen.groups if not set(group) & empty.keys()), ())
        peak_bytes = _peak_bytes()
        fill(data, [segment for group in chosen.groups for segment in group])
        for name, group in (("wholly dead", dead), ("partly dead", holey)):
            _compact(steps, repository, f"{len(group)} {name}", group)
        used_bytes = repository.used_bytes()
    finally:
        steps.timed("close", store.close)
    return {
        "steps": steps.figures,
        "generations": len(looked.plan.decisions),
        "goes": len(looked.plan.with_fate(Fate.GOES)),
        "expunged": len(looked.plan.with_fate(Fate.EXPUNGED)),
        "segments": len(shares),
        "stored_bytes": used_bytes,
        "dead_bytes": chosen.dead_bytes,
        "groups": len(chosen.groups),
        "left_bytes": sum(empty.values()) - sum(empty[segment] for segment in dead),
        "peak_bytes": peak_bytes,
    }


def _peak_bytes() -> int:
    # Not ``ru_maxrss``: there the memory of the process that started this one counts, too.
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    return int(line.split()[1]) * 1024


def _retain(steps: Steps, repository: RepositoryStore) -> None:
    looked = look(repository, time.time_ns())
    done = steps.timed("retention: carry out", repository.change, carry_out, repository, looked)
    if not done:
        raise RuntimeError("the register has changed, and nobody changed it")
    pinned = looked.plan.decisions[-1].candidate.generation
    decisions = repository.decisions
    steps.timed("pin", repository.change, decisions.pin, pinned, "the benchmark", "to see")


def _compact(
    steps: Steps, repository: RepositoryStore, name: str, group: tuple[SegmentNumber, ...]
) -> None:
    if not group:
        return
    rewrite = steps.timed(f"compaction: begin, {name}", repository.collection.rewrite, group)
    steps.timed(f"compaction: copy, {name}", list, rewrite.steps())
    replace = repository.collection.replace
    if not steps.timed(f"compaction: replace, {name}", repository.change, replace, rewrite):
        raise RuntimeError("something came to life, and nobody asked for it")


if __name__ == "__main__":
    json.dump(decide(Path(sys.argv[1])), sys.stdout)
