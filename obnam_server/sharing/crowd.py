"""Who is connected, and who must go when there are too many. Decides; does nothing.

A connection is a stranger's until a request on it has shown a good token; then it is its client's.
So whoever opens connections and says nothing takes room from strangers of his own address, and a
client that opens too many takes it from itself.
"""

from collections import Counter, OrderedDict
from collections.abc import Hashable

from attrs import define, field

CONNECTIONS_MAX = 1000
"""Connections at once. A client keeps about four."""

STRANGERS_PER_SOURCE_MAX = 400
"""Of one address (an IPv4 address, an IPv6 network). Behind it there may be an office full of
clients, all of them strangers for as long as their first request takes."""

CONNECTIONS_PER_CLIENT_MAX = 32
"""Of one client, whatever the address."""


@define(eq=False)
class Crowd:
    """All connections. A key is anything that stands for one."""

    _most: int = CONNECTIONS_MAX
    _most_strangers: int = STRANGERS_PER_SOURCE_MAX
    _most_of_client: int = CONNECTIONS_PER_CLIENT_MAX
    _strangers: dict[str | None, OrderedDict[Hashable, None]] = field(init=False, factory=dict)
    """By source, the longest connected first."""
    _sources: dict[Hashable, str | None] = field(init=False, factory=dict)
    _clients: dict[Hashable, str] = field(init=False, factory=dict)
    _counts: Counter[str] = field(init=False, factory=Counter)

    def came(self, key: Hashable, source: str | None) -> list[Hashable]:
        """A new connection; those that must be cut for it, perhaps itself.

        ``source`` as `obnam_server.sharing.sources` has it.
        """
        strangers = self._strangers.setdefault(source, OrderedDict())
        strangers[key] = None
        self._sources[key] = source
        cut: list[Hashable] = []
        if source is not None and len(strangers) > self._most_strangers:
            cut.append(self._cut(source))
        if len(self._sources) > self._most:
            largest = max(self._strangers, key=lambda each: len(self._strangers[each]))
            cut.append(self._cut(largest))
        return cut

    def is_welcome(self, key: Hashable, client: str) -> bool:
        """A request on the connection showed a client's token. ``False``: it has too many."""
        before = self._clients.get(key)
        if before == client:
            return True
        if self._counts[client] >= self._most_of_client:
            return False
        if before is not None:
            self._forget_client(key, before)
        elif key in self._sources:
            self._forget_stranger(key, self._sources[key])
        self._clients[key] = client
        self._counts[client] += 1
        return True

    def left(self, key: Hashable) -> None:
        """A connection is gone. One that was cut is so already."""
        source = self._sources.pop(key, None)
        client = self._clients.get(key)
        if client is not None:
            self._forget_client(key, client)
        else:
            self._forget_stranger(key, source)

    def __len__(self) -> int:
        return len(self._sources)

    def _cut(self, source: str | None) -> Hashable:
        """The stranger from there who has been connected longest. He counts no more."""
        key = next(iter(self._strangers[source]))
        self.left(key)
        return key

    def _forget_stranger(self, key: Hashable, source: str | None) -> None:
        strangers = self._strangers.get(source)
        if strangers is not None:
            strangers.pop(key, None)
            if not strangers:
                del self._strangers[source]

    def _forget_client(self, key: Hashable, client: str) -> None:
        del self._clients[key]
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]
