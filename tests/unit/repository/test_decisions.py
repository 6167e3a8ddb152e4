"""Decisions over generations as requests, and a server that is older or says anything."""

import json

import pytest
import pytest_twisted  # type: ignore[import-untyped]

from obnam import errors
from obnam.model.ids import ClientName
from obnam.wire import limits, problems
from obnam.wire.listing import ListedGeneration
from obnam.wire.messages import GenerationSummary, Receipt
from tests.support.hostile_scene import GENERATION, Scene
from tests.support.hostile_server import answer

ensure = pytest_twisted.ensureDeferred
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


def line(sequence: int, **decided: int | None) -> dict[str, object]:
    """A line of a list; without ``decided``, one of an older server."""
    receipt = Receipt(GENERATION, sequence, 0)
    summary = GenerationSummary(receipt, ClientName("laptop"), None, False, 0)
    return {**summary.to_json(), **decided}


def page(*lines: dict[str, object]) -> bytes:
    return answer(json.dumps({"generations": lines}).encode())


@ensure
async def test_requests(scene: Scene) -> None:
    scene.reply(NOTHING)
    repository = scene.repository
    await repository.delete_generation(GENERATION)
    await repository.undelete_generation(GENERATION)
    await repository.pin_generation(GENERATION, "good: ü")
    await repository.unpin_generation(GENERATION)
    path = f"/v1/generations/{GENERATION}"
    asked = [request.partition(b" HTTP/1.1\r\n")[0].decode() for request in scene.server.requests]
    assert asked == [
        f"DELETE {path}",
        f"PUT {path}/undelete",
        f"PUT {path}/pin",
        f"DELETE {path}/pin",
    ]
    assert json.loads(scene.server.requests[2].partition(b"\r\n\r\n")[2]) == {"reason": "good: ü"}


@ensure
async def test_a_reason_that_is_too_long_is_not_sent(scene: Scene) -> None:
    with pytest.raises(errors.RequestRefused):
        await scene.repository.pin_generation(GENERATION, "x" * (limits.PIN_REASON_MAX + 1))
    assert scene.server.requests == []


@ensure
async def test_the_servers_reason_is_shown_safely(scene: Scene) -> None:
    detail = "it is pinned (\x1b[31m\nred); " + "x" * 5000
    body = json.dumps(problems.KEPT.to_json(detail)).encode()
    scene.reply(answer(body, "409 X", f"Content-Type: {problems.CONTENT_TYPE}"))
    with pytest.raises(errors.GenerationKept) as caught:
        await scene.repository.delete_generation(GENERATION)
    said = str(caught.value)
    assert said.startswith(f"generation {GENERATION} is kept: it is pinned (?[31m?red); xxx")
    assert len(said) < limits.TEXT_MAX + 100
    assert caught.value.exit_code == 1


@ensure
async def test_the_trash_page_after_page(scene: Scene) -> None:
    full = [line(n + 1, trashed_ns=n) for n in range(limits.GENERATIONS_PAGE_MAX)]
    last = line(2 * limits.GENERATIONS_PAGE_MAX, trashed_ns=5, until_ns=7)
    pages = iter([page(*full), page(last)])
    scene.server.reply = lambda connection, _: connection.send(next(pages))
    found = await scene.repository.list_trash()
    assert len(found) == limits.GENERATIONS_PAGE_MAX + 1
    assert found[-1] == ListedGeneration.from_json(last)
    asked = [request.split(b" ")[1] for request in scene.server.requests]
    assert asked == [
        b"/v1/generations?after=0&trash=1",
        b"/v1/generations?after=1000&trash=1",
    ]


@pytest.mark.parametrize("lines", [[line(1)], [line(1, trashed_ns=None)]])
@ensure
async def test_a_server_without_a_trash(scene: Scene, lines: list[dict[str, object]]) -> None:
    """It lists what nobody deleted; that must not be shown as trash."""
    scene.reply(page(*lines))
    with pytest.raises(errors.RequestRefused, match="has no trash"):
        await scene.repository.list_trash()
    (listed,) = await scene.repository.list_generations()
    assert (listed.pinned, listed.trashed_ns) == (None, None)
