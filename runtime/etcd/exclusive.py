"""Let one process of a cluster do a piece of work: the one that etcd has elected."""

from collections.abc import Awaitable, Callable

from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import EtcdClient
from runtime.etcd.election import Election, Leader, Leadership
from runtime.exclusive import Term


class ElectedTerm:
    """A term as elected leader.

    Args:
        leadership: What the election gave.
    """

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership

    @property
    def is_current(self) -> bool:
        """Return whether we lead now, by our own clock."""
        return self._leadership.is_leader

    @property
    def is_elected(self) -> bool:
        """Return that every earlier leader's term is over."""
        return True


class EtcdExclusive:
    """Holds one election for each name, under `<root>elections/<name>/`.

    While etcd is away nobody is elected: whoever leads stops by its own clock, and all wait until etcd is back. That
    is said in the log once each time.

    Args:
        etcd: The client; etcd may be away when this is made.
        owner: This process, for people to read.
        timing: How long a term lasts without renewal; None takes that of the client's settings.
    """

    def __init__(self, etcd: EtcdClient, owner: str, *, timing: ClaimTiming | None = None) -> None:
        self._etcd = etcd
        self._owner = owner
        self._timing = timing

    async def run(self, name: str, work: Callable[[Term], Awaitable[None]]) -> None:
        """Wait until this process is elected, then do the work; see `runtime.exclusive.Exclusive`.

        Cancelled work has twice the clock margin to clean up before another process can begin.

        Raises:
            EtcdRefused: When etcd says that this user may not.
        """
        await self._election(name).run(lambda leadership: work(ElectedTerm(leadership)))

    async def leader(self, name: str) -> Leader | None:
        """Return who does the work now, as etcd says; None when nobody does.

        Raises:
            EtcdError: When etcd does not answer.
        """
        return await self._election(name).leader()

    def _election(self, name: str) -> Election:
        prefix = f"{self._etcd.settings.root}elections/{name}/"
        return Election(self._etcd, prefix=prefix, owner=self._owner, timing=self._timing)
