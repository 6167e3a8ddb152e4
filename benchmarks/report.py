"""What came out: one run is one measured command; the report has the medians and their ratios."""

import dataclasses
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Usage

HEADER = (
    *("corpus", "operation", "program", "wall s", "range", "ratio"),
    *("CPU s", "ratio", "client MB", "server MB", "repository MB", "ratio"),
)
MB = 1_000_000


@dataclasses.dataclass(frozen=True)
class Run:
    """One measured command, and the size of the repository after it."""

    corpus: str
    operation: str
    program: str
    round: int
    usage: Usage
    repository_bytes: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """Medians over the rounds of one operation of one program on one corpus."""

    corpus: str
    operation: str
    program: str
    rounds: int
    wall_s: float
    wall_minimum_s: float
    wall_maximum_s: float
    cpu_s: float
    client_peak_bytes: float | None
    server_peak_bytes: float | None
    repository_bytes: float


def summaries(runs: Sequence[Run]) -> list[Summary]:
    """The medians, in the order in which corpora, operations and programs first came."""
    operations = dict.fromkeys((run.corpus, run.operation) for run in runs)
    programs = dict.fromkeys(run.program for run in runs)
    groups = (
        [run for run in runs if (run.corpus, run.operation, run.program) == (*operation, program)]
        for operation in operations
        for program in programs
    )
    return [_summary(group) for group in groups if group]


def table(medians: Sequence[Summary], baseline: str) -> str:
    """A Markdown table. A ratio is a program's figure divided by the baseline's."""
    bases = {(row.corpus, row.operation): row for row in medians if row.program == baseline}
    lines = [HEADER, ("---",) * len(HEADER)]
    lines += [_cells(row, bases.get((row.corpus, row.operation))) for row in medians]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    models = _values("/proc/cpuinfo", "model name")
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "memory": _values("/proc/meminfo", "MemTotal")[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _summary(runs: list[Run]) -> Summary:
    usages = [run.usage for run in runs]
    walls = [usage.wall_s for usage in usages]
    return Summary(
        corpus=runs[0].corpus,
        operation=runs[0].operation,
        program=runs[0].program,
        rounds=len(runs),
        wall_s=statistics.median(walls),
        wall_minimum_s=min(walls),
        wall_maximum_s=max(walls),
        cpu_s=statistics.median(usage.client_cpu_s + usage.server_cpu_s for usage in usages),
        client_peak_bytes=_median(usage.client_peak_bytes for usage in usages),
        server_peak_bytes=_median(usage.server_peak_bytes for usage in usages),
        repository_bytes=statistics.median(run.repository_bytes for run in runs),
    )


def _median(values: Iterable[int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _cells(row: Summary, base: Summary | None) -> tuple[str, ...]:
    def ratio(figure: Callable[[Summary], float]) -> str:
        return f"{figure(row) / figure(base):.2f}" if base else "-"

    return (
        *(row.corpus, row.operation, row.program),
        f"{row.wall_s:.2f}",
        f"{row.wall_minimum_s:.2f}-{row.wall_maximum_s:.2f}",
        ratio(lambda summary: summary.wall_s),
        f"{row.cpu_s:.2f}",
        ratio(lambda summary: summary.cpu_s),
        _megabytes(row.client_peak_bytes),
        _megabytes(row.server_peak_bytes),
        _megabytes(row.repository_bytes),
        ratio(lambda summary: summary.repository_bytes),
    )


def _megabytes(size_bytes: float | None) -> str:
    return f"{size_bytes / MB:,.0f}" if size_bytes else "-"


def _values(path: str, key: str) -> list[str]:
    lines = (line.partition(":") for line in Path(path).read_text().splitlines())
    return [value.strip() for name, _, value in lines if name.strip() == key]
