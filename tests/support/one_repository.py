"""A store with one repository, that tests stop, start, and give a new index."""

from pathlib import Path

from attrs import define, field

from obnam_server.store.rebuild import rebuild_index
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from tests.support.stored import HOME, Clock, index_path, rebuilt_rows


@define
class OneRepository:
    """The data directory, and what is open of it."""

    data: Path
    clock: Clock = field(factory=Clock)
    store: Store = field(init=False)
    home: RepositoryStore = field(init=False)

    def start(self) -> None:
        """Open it, or make it."""
        self.store = Store.open(self.data, self.clock)
        self.home = self.store.create_repository(HOME)

    def restart(self) -> None:
        """Close and open it."""
        self.store.close()
        self.start()

    def rebuild(self) -> list[str]:
        """Make the index anew; what was found to be wrong."""
        self.store.close()
        problems = rebuild_index(self.data, HOME, self.clock)
        self.start()
        return problems


@define
class SoundRepository(OneRepository):
    """One in which nothing is wrong, ever: each start and each new index shows it."""

    def start(self) -> None:
        """See `OneRepository`."""
        OneRepository.start(self)
        assert self.home.problems == []

    def rebuild(self) -> list[str]:
        """See `OneRepository`; and the new index is as the old one."""
        self.store.close()
        before = rebuilt_rows(index_path(self.data))
        self.start()
        assert OneRepository.rebuild(self) == []
        self.store.close()
        assert rebuilt_rows(index_path(self.data)) == before
        self.start()
        return []
