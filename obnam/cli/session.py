"""What a command needs to do its work: settings, a way to print, a client that is connected."""

import json
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import field, frozen

from obnam import config, credentials
from obnam.cli.commands import Options
from obnam.cli.endings import Interrupted, tell_ending
from obnam.config import Places, Settings
from obnam.errors import DONE_WITH_WARNINGS, ConfigurationError, OverQuota, ServerFull

if TYPE_CHECKING:
    from obnam.browse.catalogue import Catalogue
    from obnam.crypto.keys import RepositoryKeys
    from obnam.model.ids import GenerationId
    from obnam.repository.embedded import EmbeddedServer
    from obnam.repository.starting import StartedServer
    from obnam.wiring import Client, Surroundings

T = TypeVar("T")


@frozen
class Session:
    """One run of one command. ``warned``: what was said beside the result, for the exit code."""

    options: Options
    warned: list[str] = field(factory=list)

    @property
    def places(self) -> Places:
        """Where the client's files lie."""
        return Places.found(os.environ, self.options.configuration)

    @property
    def shows_time_left(self) -> bool:
        """Whether somebody looks at a display, and would like to know how long it will take."""
        return sys.stderr.isatty() and not self.options.as_json and not self.options.quiet

    @property
    def is_first_backup(self) -> bool:
        """Whether nothing was ever backed up from here: not sure, but as good as that."""
        return not any((self.places.state_home / "obnam").glob("*.json"))

    def settings(self) -> Settings:
        """The configuration, checked."""
        return config.load(self.places.configuration)

    def keys(self) -> "RepositoryKeys":
        """The repository's keys, for what needs no server."""
        from obnam.crypto.keys import RepositoryKeys

        return RepositoryKeys.derive(credentials.load(self.places.secrets).master)

    def say(self, value: Any, lines: Iterable[str]) -> None:
        """Print a result: ``value`` as JSON, or else the lines."""
        if self.options.quiet:
            return
        if self.options.as_json:
            print(json.dumps(value, indent=1))
        else:
            for line in lines:
                print(line)

    def run(
        self,
        command: "Callable[[Surroundings], Coroutine[Any, Any, T]]",
        is_done: Callable[[], bool] = lambda: False,
    ) -> T:
        """Run a command that talks to others, with progress, until it ends or a signal comes.

        ``is_done``: whether its result was printed by then.
        """
        # The first of these imports takes longest, and there is nothing to do meanwhile.
        from obnam.cli.progress import progress_for
        from obnam.cli.running import run
        from obnam.memory import collect_seldom
        from obnam.wiring import Surroundings

        reactor = self.options.reactor()
        progress = progress_for(self.options, sys.stderr, reactor)
        surroundings = Surroundings(reactor, self.places, progress)
        # All modules are here to stay; from now on there is garbage (see `obnam.cli.main`).
        collect_seldom()

        def give_up(number: int) -> None:
            # A stream of its own: the signal may have come while something was printed to that one.
            sys.stderr = os.fdopen(os.dup(sys.stderr.fileno()), "w", 1, errors="backslashreplace")
            try:
                progress.close()
            finally:
                error = Interrupted(number)
                error.done = is_done()
                tell_ending(error, self.options.as_json, self.options.verbose)

        try:
            return run(surroundings.reactor, lambda: command(surroundings), give_up)
        finally:
            progress.close()

    def with_client(
        self,
        command: "Callable[[Client], Coroutine[Any, Any, T]]",
        *,
        patient: bool = False,
        jobs: Callable[[Settings], bool] = lambda _: False,
        tell: "Callable[[T], None] | None" = None,
        upkeep: bool = False,
    ) -> T:
        """Run a command with a connected client, which is closed afterwards.

        ``patient``: wait some minutes for a server that is away, not some seconds. ``jobs``: will
        there be work for workers in any case, so that they come while everything else begins?
        ``tell`` prints the result. ``upkeep``: the command changes what is stored; when it has
        told its result, a repository in a directory has its upkeep.
        """
        told: list[T] = []
        settings = self.settings()
        known = credentials.load(self.places.secrets)
        directory = known.location.directory
        are_jobs = jobs(settings)
        started = None if directory is None else self._begin_server(directory)

        async def connected(surroundings: "Surroundings") -> T:
            from obnam.wiring import BRIEF, PATIENT, open_client

            server = None if started is None else _taken_over(surroundings, started)
            policy = PATIENT if patient else BRIEF
            client = await open_client(surroundings, settings, known, policy, server)
            if are_jobs:
                client.expect_jobs()
            try:
                try:
                    result = await command(client)
                except (ServerFull, OverQuota):
                    if upkeep:
                        # It is upkeep that makes room.
                        await self._look_after(surroundings, settings, server, at_once=True)
                    raise
                if tell is not None:
                    surroundings.progress.close()
                    tell(result)
                    sys.stdout.flush()
                    told.append(result)
                if upkeep:
                    await self._look_after(surroundings, settings, server)
                return result
            finally:
                await client.close()

        try:
            if are_jobs:
                from obnam.pool import launch

                launch.get_ready()
            return self.run(connected, lambda: bool(told))
        except Interrupted as error:
            error.done = bool(told)
            raise
        finally:
            # A signal while we import: nobody stopped it then.
            if started is not None:
                started.remove_private()

    async def _look_after(
        self,
        surroundings: "Surroundings",
        settings: Settings,
        server: "EmbeddedServer | None",
        *,
        at_once: bool = False,
    ) -> None:
        """Upkeep of a repository in a directory; other servers have theirs by themselves."""
        if server is None:
            return
        from obnam.cli.upkeep import Caretaker

        caretaker = Caretaker(self.options, settings.upkeep_minutes)
        self.warned.extend(await caretaker.look_after(surroundings, server, at_once=at_once))

    def _begin_server(self, directory: Path) -> "StartedServer":
        """Start the server of a repository in a directory: it imports while we do."""
        from obnam.repository import starting  # of no use to who has a server

        # An empty one is where the disk is usually mounted: nothing is to be made there.
        there = directory.is_dir()
        if not there or not any(directory.iterdir()):
            what = "empty" if there else "not there"
            problem = f"the repository's directory {directory} is {what}; is it mounted?"
            raise ConfigurationError(str(self.places.secrets), problem)
        return starting.begin(directory, self.places.private)

    @property
    def code(self) -> int:
        """The exit code of a command that did what was asked."""
        return DONE_WITH_WARNINGS if self.warned else 0

    async def catalogue(self, client: "Client", *references: str) -> "Catalogue":
        """All generations; warnings are shown. `UnknownReference` when one of these is no REF."""
        from obnam.browse.catalogue import fetch
        from obnam.model.reference import parse

        for reference in references:
            parse(reference)  # What is no reference at all needs no server to say so.
        catalogue = await fetch(client.repository, client.generations)
        self._warn(client, catalogue.warnings)
        self._tell_unwritten(client)
        return catalogue

    async def find(self, client: "Client", reference: str) -> "GenerationId":
        """The generation that a REF stands for; warnings are shown. Raises `UnknownReference`."""
        from obnam.browse.catalogue import find

        generation, warnings = await find(client.repository, client.generations, reference)
        self._warn(client, warnings)
        self._tell_unwritten(client)
        return generation

    def _tell_unwritten(self, client: "Client") -> None:
        """Say that nothing new is remembered of the server. What was asked for is done: code 0."""
        error = client.generations.history.unwritten
        if error is not None:
            client.surroundings.progress.warn(
                f"{error.filename}: {error.strerror}: it is not noted here what the server has "
                f"now, so that a later command could not tell that generations are hidden"
            )

    def _warn(self, client: "Client", warnings: Sequence[str]) -> None:
        for warning in warnings:
            client.surroundings.progress.warn(warning)
        self.warned.extend(warnings)


def _taken_over(surroundings: "Surroundings", started: "StartedServer") -> "EmbeddedServer":
    from obnam.repository.embedded import take_over

    return take_over(surroundings.reactor, started)


def session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `Session` as the first argument."""

    @wraps(function)
    @click.pass_obj
    def with_session(options: Options, *arguments: Any, **named: Any) -> Any:
        return function(Session(options), *arguments, **named)

    return with_session
