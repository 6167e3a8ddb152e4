"""The command: build the corpora, run the programs in turn, print the table, write the JSON."""

import argparse
import dataclasses
import datetime
import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.changes import Changes
from benchmarks.corpora import Corpus, corpus, first_difference
from benchmarks.measure import Command, CommandFailed, measure
from benchmarks.programs import Program, makers
from benchmarks.report import Run, machine, summaries, table
from benchmarks.warm import warm

OPERATIONS = ("first", "unchanged", "changed", "restore", "ten")
BACKUPS_OF_TEN = 10
MEMORY_FILE_SYSTEM = Path("/dev/shm")
CLAIMED = 2
"""Memory made ready before a command, in sizes of the corpus: for what it reads, and writes."""

# Defaults of the two modes.
MODES: dict[str, dict[str, str]] = {
    "compare": {
        "corpus": "small,tars,media",
        "program": "obnam,restic,borg",
        "operation": ",".join(OPERATIONS),
        "rounds": "4",
    },
    "memory": {
        "corpus": "files-100000,files-1000000",
        "program": "obnam",
        "operation": "first,unchanged,restore",
        "rounds": "1",
    },
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to run, and where."""

    corpora: tuple[str, ...]
    programs: tuple[str, ...]
    operations: tuple[str, ...]
    rounds: int
    work: Path
    restore_to: Path | None
    obnam_commands: Path
    sample_memory: bool
    output: Path


class Round:
    """One round over one corpus: each operation is run by every program before the next one is.

    So a drift of the machine's speed meets all alike, and all see the very same tree.
    """

    def __init__(
        self, number: int, corpus: Corpus, programs: dict[str, Program], settings: Settings
    ) -> None:
        self._number = number
        self._corpus = corpus
        self._programs = programs
        self._settings = settings

    def runs(self) -> Iterator[Run]:
        """Measure every wanted operation, each by every program, in the order of OPERATIONS.

        The first backup is always made: all others need its repository. ``ten`` says nothing new
        in a second round, and is measured in the last one only.
        """
        wanted = self._settings.operations
        try:
            for program in self._programs.values():
                program.prepare()
            yield from self._backups("first")
            if "unchanged" in wanted:
                yield from self._backups("unchanged")
            with Changes(self._corpus) as changes:
                if "changed" in wanted:
                    changes.advance()
                    yield from self._backups("changed")
                if "restore" in wanted:
                    yield from self._restores()
                if "ten" in wanted and self._number == self._settings.rounds:
                    yield from self._ten(changes)
        finally:
            for program in self._programs.values():
                program.stop()

    def _backups(self, operation: str) -> Iterator[Run]:
        for name, program in self._programs.items():
            warm(self._corpus.root)
            yield self._measured(operation, name, program.backup())

    def _restores(self) -> Iterator[Run]:
        for name, program in self._programs.items():
            target = self._restore_directory() / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            warm(program.repository)
            yield self._measured("restore", name, program.restore(target))
            difference = first_difference(self._corpus.root, program.restored(target))
            shutil.rmtree(target)
            if difference:
                raise CommandFailed(f"{name} did not restore {self._corpus.name}: {difference}")

    def _ten(self, changes: Changes) -> Iterator[Run]:
        """Back up until there are ten backups with a change before each but the first."""
        while True:
            changes.advance()
            runs = list(self._backups("ten"))
            if changes.step + 1 >= BACKUPS_OF_TEN:
                yield from runs
                return

    def _restore_directory(self) -> Path:
        """Where to restore: into memory, see README.md, if there is such a file system."""
        if self._settings.restore_to:
            return self._settings.restore_to
        if MEMORY_FILE_SYSTEM.is_dir():
            return MEMORY_FILE_SYSTEM / "obnam-benchmark"
        return self._settings.work / "restored"

    def _measured(self, operation: str, name: str, command: Command) -> Run:
        program = self._programs[name]
        usage = measure(
            command,
            program.server_pid(),
            program.log,
            sample_memory=self._settings.sample_memory,
            claim_bytes=CLAIMED * self._corpus.size_bytes,
        )
        run = Run(self._corpus.name, operation, name, self._number, usage, program.size_bytes())
        _say(
            f"{run.corpus} round {run.round} {operation:9} {name:8} {usage.wall_s:7.2f} s wall, "
            f"{usage.client_cpu_s + usage.server_cpu_s:7.2f} s CPU"
        )
        return run


def compare(settings: Settings) -> list[Run]:
    """Run everything. Raises CommandFailed when a program fails, ValueError for a wrong name."""
    made = makers(settings.obnam_commands)
    runs: list[Run] = []
    for corpus_name in settings.corpora:
        _say(f"corpus {corpus_name}")
        tree = corpus(corpus_name, settings.work / "corpora")
        _say(f"{tree.files:,} files, {tree.links:,} links, {tree.size_bytes:,} bytes")
        for number in range(1, settings.rounds + 1):
            turn = (number - 1) % len(settings.programs)
            order = settings.programs[turn:] + settings.programs[:turn]
            homes = {name: settings.work / "programs" / name for name in order}
            programs = {name: made[name](homes[name], tree.root) for name in order}
            runs.extend(Round(number, tree, programs, settings).runs())
    return runs


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    """Run the command line; return its exit code."""
    settings = _parse(arguments)
    made = makers(settings.obnam_commands)
    started = datetime.datetime.now(datetime.UTC)
    try:
        programs = [made[name](settings.work, Path("/")) for name in settings.programs]
        versions = [version for program in programs for version in program.versions()]
        runs = compare(settings)
    except CommandFailed as error:
        _say(f"benchmarks: {error}")
        return 1
    medians = summaries(runs)
    document = {
        "started": started.isoformat(timespec="seconds"),
        "command": shlex.join(("python", "-m", "benchmarks", *arguments)),
        "machine": machine(),
        "versions": versions,
        "medians": [dataclasses.asdict(median) for median in medians],
        "runs": [dataclasses.asdict(run) for run in runs],
    }
    settings.output.write_text(json.dumps(document, indent=1) + "\n")
    print(table(medians, baseline=settings.programs[0]))
    _say(f"written: {settings.output}")
    return 0


def _parse(arguments: Sequence[str]) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare Obnam with restic and borg."
    )
    parser.add_argument("mode", nargs="?", choices=MODES, default="compare")
    parser.add_argument("--corpus", help="some of small,tars,media,files-NUMBER")
    parser.add_argument(
        "--program", help="some of obnam,obnam-embedded,restic,borg; ratios are to the first"
    )
    parser.add_argument("--operation", help=f"some of {','.join(OPERATIONS)}")
    parser.add_argument("--rounds", type=int, help="the figures are the medians of so many")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/obnam-benchmark"))
    parser.add_argument(
        "--restore-to",
        type=Path,
        help="default: /dev/shm, or the work directory where there is none",
    )
    parser.add_argument(
        "--obnam-bin",
        type=Path,
        default=Path(sys.executable).parent,
        help="directory of Obnam's installed commands; default: that of this Python",
    )
    parser.add_argument(
        "--no-memory",
        action="store_true",
        help="do not sample memory, which disturbs what is measured a little",
    )
    parser.add_argument("--output", type=Path, help="the JSON; default: MODE.json in --work")
    given = parser.parse_args(arguments)
    defaults = MODES[given.mode]
    wanted = {
        name: tuple(str(getattr(given, name) or defaults[name]).split(","))
        for name in ("corpus", "program", "operation")
    }
    known = {"program": tuple(makers(given.obnam_bin)), "operation": OPERATIONS}
    for name, names in known.items():
        for odd in set(wanted[name]) - set(names):
            parser.error(f"--{name}: {odd} is none of {', '.join(names)}")
    return Settings(
        corpora=wanted["corpus"],
        programs=wanted["program"],
        operations=wanted["operation"],
        rounds=given.rounds or int(defaults["rounds"]),
        work=given.work,
        restore_to=given.restore_to,
        obnam_commands=given.obnam_bin,
        sample_memory=not given.no_memory,
        output=given.output or given.work / f"{given.mode}.json",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
