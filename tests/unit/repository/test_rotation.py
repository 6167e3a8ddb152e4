"""Another token: wherever it is cut short, the client gets in, and the next run ends it."""

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, evolve, field
from pytest_twisted import ensureDeferred  # type: ignore[import-untyped]
from treq.client import HTTPClient
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.web.client import Agent

from obnam.credentials import Credentials, Location, load, replace, save
from obnam.crypto.keys import MasterKey
from obnam.errors import AccessDenied
from obnam.model.ids import ClientName, RepositoryName
from obnam.repository.connect import Connections
from obnam.repository.exchange import Exchange
from obnam.repository.rotation import accepted, announce, rotate
from obnam.wire.interfaces import IRepository
from tests.support.client_in_memory import MemoryNetwork, client_in_memory
from tests.support.server_in_memory import ServerInMemory


class Crash(Exception):
    """The process is gone."""


@define(eq=False)
class Scene:
    """A real ``secrets.yaml``, a real server; the process dies at effect number ``dies_at``.

    Each of keeping, telling and using is two effects: it is done, and it is known to be done.
    """

    server: ServerInMemory
    secrets: Path
    dies_at: int = -1
    _effects: "count[int]" = field(factory=count)
    _tokens: "count[int]" = field(factory=count)

    async def run(self, dies_at: int = -1) -> None:
        """``obnam key rotate-token``, as `obnam.rotating` puts it together."""
        self.dies_at, self._effects = dies_at, count()
        known = load(self.secrets)

        def keep(token: str, next_token: str | None) -> None:
            self.effect()
            replace(self.secrets, evolve(known, token=token, next_token=next_token))
            self.effect()

        async def tell(token: str, next_token: str) -> None:
            await self.done(lambda: self.announced(token, next_token))

        async def use(token: str) -> None:
            await self.done(lambda: self.client(token).describe())

        await rotate(
            known.token, known.next_token, lambda: f"new-{next(self._tokens)}", keep, tell, use
        )

    def effect(self) -> None:
        if next(self._effects) == self.dies_at:
            raise Crash

    async def done(self, asked: Callable[[], Awaitable[object]]) -> None:
        self.effect()
        await asked()
        self.effect()

    def announced(self, token: str, next_token: str) -> "Deferred[None]":
        network = MemoryNetwork(self.server, [])
        connections = Connections.none_yet(cast(ReactorBase, self.server.clock))
        agent = cast(Any, Agent).usingEndpointFactory(
            self.server.clock, network, pool=connections.pool
        )
        exchange = Exchange(HTTPClient(agent), self.server.clock, "http://memory", token=token)
        return network.finish(Deferred.fromCoroutine(announce(exchange, next_token)))

    def client(self, token: str) -> Any:
        return client_in_memory(self.server, token)

    async def open(self) -> IRepository:
        """What every other command does."""
        return await accepted(lambda token: cast(IRepository, self.client(token)), self.tokens())

    def tokens(self) -> tuple[str, ...]:
        return load(self.secrets).tokens

    async def is_good(self, token: str) -> bool:
        try:
            await self.client(token).describe()
        except AccessDenied:
            return False
        return True


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server = ServerInMemory.open(tmp_path / "data")
    secrets = tmp_path / "secrets.yaml"
    token = server.token("laptop")
    save(
        secrets,
        Credentials(
            Location(url="https://memory:1"),
            ClientName("laptop"),
            RepositoryName("laptop"),
            token,
            MasterKey(bytes(32)),
        ),
    )
    yield Scene(server, secrets)
    server.close()


@ensureDeferred
async def test_rotated(scene: Scene) -> None:
    (old,) = scene.tokens()
    await scene.run()
    (new,) = scene.tokens()
    assert new == "new-0"
    assert not await scene.is_good(old)
    await (await scene.open()).describe()
    await scene.run()
    assert scene.tokens() == ("new-1",)
    assert not await scene.is_good(new)


EFFECTS = 8
"""Two each: keep both, tell, use, keep one."""


@pytest.mark.parametrize("second", [*range(EFFECTS), -1])
@pytest.mark.parametrize("first", range(EFFECTS))
@ensureDeferred
async def test_killed_anywhere_once_and_again(scene: Scene, first: int, second: int) -> None:
    (old,) = scene.tokens()
    with pytest.raises(Crash):
        await scene.run(dies_at=first)
    await (await scene.open()).describe()
    try:
        await scene.run(dies_at=second)
    except Crash:
        await (await scene.open()).describe()
        await scene.run()
    (new,) = scene.tokens()
    assert await scene.is_good(new)
    assert not await scene.is_good(old)


@ensureDeferred
async def test_there_are_no_more_effects(scene: Scene) -> None:
    """Else some of them would not have been tried above."""
    await scene.run(dies_at=EFFECTS)
    with pytest.raises(Crash):
        await scene.run(dies_at=EFFECTS - 1)


@ensureDeferred
async def test_revoked(scene: Scene) -> None:
    """Said as it is; both tokens are kept, and neither helps."""
    scene.server.store.clients.revoke(ClientName("laptop"))
    for _ in range(2):
        with pytest.raises(AccessDenied):
            await scene.run()
        with pytest.raises(AccessDenied):
            await scene.open()
    assert len(scene.tokens()) == 2


@ensureDeferred
async def test_a_single_token_is_not_tried_out(scene: Scene) -> None:
    scene.server.store.clients.revoke(ClientName("laptop"))
    opened = await scene.open()
    with pytest.raises(AccessDenied):
        await opened.describe()
