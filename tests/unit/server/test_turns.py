"""Whose turn it is: decided by numbers, and compared with numbers."""

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam_server.sharing.crowd import Crowd
from obnam_server.sharing.queues import share_of_memory
from obnam_server.sharing.turns import ANSWERS, BODIES, UPLOADS, Share, Turns, Verdict

GO, WAIT = Verdict.GO, Verdict.WAIT
SMALL = Share(
    requests=6, extra_bytes=40, client_extra_bytes=20, least_bytes=4, waiting=8, client_waiting=4
)


def asked(turns: Turns, *requests: tuple[int, str, int]) -> list[Verdict]:
    return [turns.ask(*request) for request in requests]


def test_a_clients_first_always_goes() -> None:
    turns = Turns(SMALL)
    assert asked(turns, (1, "a", 1000), (2, "b", 1000), (3, "c", 1000)) == [GO, GO, GO]


def test_its_own_limit() -> None:
    turns = Turns(SMALL)
    assert asked(turns, (1, "a", 20), (2, "a", 15), (3, "a", 6), (4, "b", 20)) == [
        *(GO, GO, WAIT, GO)
    ]
    assert turns.waits_for_itself(3)
    assert turns.leave(4) == []
    assert turns.leave(2) == [3]
    assert turns.leave(1) == []
    # The next one is the first again, whatever its size.
    assert turns.ask(5, "a", 1000) is GO


def test_the_limit_of_all() -> None:
    turns = Turns(SMALL)
    firsts = [(n, client, 1) for n, client in enumerate("abc")]
    assert asked(turns, *firsts) == [GO, GO, GO]
    assert asked(turns, (10, "a", 20), (11, "b", 20), (12, "c", 4)) == [GO, GO, WAIT]
    assert not turns.waits_for_itself(12)
    assert turns.ask(13, "d", 20) is GO
    assert turns.leave(10) == [12]


def test_a_small_one_counts_as_more() -> None:
    turns = Turns(SMALL)
    assert asked(turns, *[(n, "a", 1) for n in range(7)]) == [GO] * 6 + [WAIT]


def test_one_of_each_in_turn() -> None:
    turns = Turns(SMALL)
    asked(turns, (0, "a", 1), (1, "a", 20), (2, "b", 1), (3, "b", 20))
    waiting = [(10, "a", 10), (11, "a", 10), (12, "a", 10), (20, "b", 10), (21, "b", 10)]
    assert asked(turns, *waiting) == [WAIT] * 5
    assert turns.leave(1) == [10, 11]
    assert turns.leave(3) == [20, 21]
    turns = Turns(Share(2, 1000, 1000, 1, 100, 100))
    asked(turns, (0, "a", 1), (1, "a", 1))
    asked(turns, (2, "a", 1), (3, "a", 1), (4, "b", 1), (5, "b", 1), (6, "c", 1))
    assert [turns.leave(n) for n in (0, 1, 2, 4, 6, 3, 5)] == [[2], [4], [6], [3], [5], [], []]


def test_a_large_one_is_not_overtaken() -> None:
    """By extra ones: else it might wait for ever. First ones pass it."""
    turns = Turns(SMALL)
    asked(turns, (0, "a", 1), (1, "b", 1), (2, "a", 20), (3, "b", 10))
    assert asked(turns, (4, "c", 1), (5, "c", 20), (6, "b", 4)) == [GO, WAIT, WAIT]
    assert turns.ask(7, "d", 1) is GO
    assert turns.leave(3) == [5]
    assert turns.leave(7) == []
    assert turns.leave(2) == [6]


def test_refused() -> None:
    turns = Turns(SMALL)
    for n in range(6):
        turns.ask(n, "a", 4)
    assert asked(turns, *[(n, "a", 4) for n in range(10, 15)]) == [WAIT] * 4 + [Verdict.OWN_LIMIT]
    assert asked(turns, *[(n, "b", 4) for n in range(20, 24)]) == [WAIT] * 4
    assert asked(turns, (30, "c", 4)) == [Verdict.CROWDED]
    # What was refused is forgotten, and what gives up makes room.
    assert turns.leave(14) == turns.leave(30) == turns.leave(13) == []
    assert asked(turns, (31, "c", 4)) == [WAIT]
    # A client without any comes before another's next.
    assert turns.leave(0) == [10]
    assert turns.leave(1) == [20]
    assert turns.leave(2) == [31]


def test_nothing_is_remembered_of_those_who_are_gone() -> None:
    turns = Turns(SMALL)
    for n in range(1000):
        turns.ask(n, f"client {n}", 4)
    for n in range(1000):
        turns.leave(n)
    assert (turns._lines, turns._rotation, turns._going, turns._waiting) == ({}, {}, {}, {})


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 30)) | st.integers(0, 60), max_size=150
    )
)
def test_limits_hold_and_nobody_is_forgotten(steps: list[tuple[str, int] | int]) -> None:
    """Whatever comes and goes: the limits hold, and when all is over all have had their turn."""
    turns = Turns(SMALL)
    size: dict[int, tuple[str, int]] = {}
    going: list[int] = []
    waiting: list[int] = []
    firsts: dict[str, int] = {}

    def goes(ticket: int) -> None:
        going.append(ticket)
        firsts.setdefault(size[ticket][0], ticket)

    def leave(ticket: int) -> None:
        (going if ticket in going else waiting).remove(ticket)
        if firsts.get(size[ticket][0]) == ticket:
            del firsts[size[ticket][0]]
        for other in turns.leave(ticket):
            waiting.remove(other)
            goes(other)

    for number, step in enumerate(steps):
        if isinstance(step, int):
            if going + waiting:
                leave((going + waiting)[step % len(going + waiting)])
        else:
            size[number] = (step[0], max(4, step[1]))
            verdict = turns.ask(number, *step)
            if verdict is GO:
                goes(number)
            elif verdict is WAIT:
                waiting.append(number)
        extra: Counter[str] = Counter()
        for ticket in going:
            if ticket not in firsts.values():
                extra[size[ticket][0]] += size[ticket][1]
        assert len(going) == turns.going <= SMALL.requests
        assert extra.total() <= SMALL.extra_bytes
        assert all(each <= SMALL.client_extra_bytes for each in extra.values())
        per_client = Counter(size[ticket][0] for ticket in waiting)
        assert len(waiting) <= SMALL.waiting
        assert all(each <= SMALL.client_waiting for each in per_client.values())
        if len(going) < SMALL.requests:
            assert all(client in firsts for client in per_client)
    while going:
        leave(going[0])
    # What could never go beside the others goes first.
    assert waiting == []


@pytest.mark.parametrize("share", [UPLOADS, ANSWERS, BODIES])
def test_one_client_cannot_take_all(share: Share) -> None:
    turns = Turns(share)
    got: dict[str, int] = defaultdict(int)
    for n in range(200):
        got["greedy"] += turns.ask(n, "greedy", 16 << 20) is GO
    assert got["greedy"] <= 6
    for n in range(40):
        assert turns.ask(1000 + n, f"client {n}", 16 << 20) is GO


def test_shares_of_memory() -> None:
    assert [share_of_memory(64, n, 20, 4) for n in (0, 1, 3, 4, 8, 16, 100)] == [
        *(20, 20, 20, 16, 8, 4, 4)
    ]


# Connections


def test_strangers_of_one_address_take_room_from_each_other() -> None:
    crowd = Crowd(10, 3, 2)
    assert [crowd.came(n, "here") for n in range(5)] == [[], [], [], [0], [1]]
    assert crowd.came(9, "there") == []
    crowd.left(0)  # it was cut
    crowd.left(3)
    assert crowd.came(10, "here") == []
    assert crowd.came(11, "here") == [2]


def test_a_unix_socket_has_no_limit_of_its_own() -> None:
    crowd = Crowd(10, 3, 2)
    assert [crowd.came(n, None) for n in range(10)] == [[]] * 10
    assert crowd.came(10, None) == [0]


def test_when_there_are_too_many_the_largest_crowd_shrinks() -> None:
    crowd = Crowd(6, 4, 2)
    for n in range(4):
        assert crowd.came(n, "crowd") == []
    assert crowd.came(10, "one") == []
    assert crowd.is_welcome(10, "client")
    assert crowd.came(11, "other") == []
    assert crowd.came(12, "third") == [0]
    assert crowd.came(13, "fourth") == [1]
    assert len(crowd) == 6


def test_clients_connections_are_not_cut() -> None:
    """A stranger who comes when all others are known must go himself."""
    crowd = Crowd(4, 4, 2)
    for n in range(4):
        assert crowd.came(n, "here") == []
        assert crowd.is_welcome(n, f"client {n % 2}")
    assert crowd.came(4, "here") == [4]


def test_too_many_of_one_client() -> None:
    crowd = Crowd(10, 10, 2)
    for n in range(3):
        crowd.came(n, "here")
    assert [crowd.is_welcome(n, "a") for n in (0, 1, 2, 0)] == [True, True, False, True]
    # Another client on the same connection: a proxy, perhaps.
    assert crowd.is_welcome(0, "b")
    assert crowd.is_welcome(2, "a")
    for n in range(3):
        crowd.left(n)
    assert (len(crowd), crowd._strangers, crowd._clients, crowd._counts) == (0, {}, {}, Counter())
