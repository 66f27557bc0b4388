"""Many lives of competing processes in simulated time: requests that are slow, late, lost or answered to nobody."""

import asyncio
import contextlib
import random

import pytest

from runtime.clock import ManualClock
from runtime.etcd.claims import ClaimTiming
from runtime.etcd.client import Condition, Delete, Entry, Field, Operation, Outcome, Put, Snapshot
from runtime.etcd.errors import EtcdUnavailable
from runtime.etcd.prefix_lease import NumberLease, NumberLeases
from tests.fakes.skewed_clock import SkewedClock

TIMING = ClaimTiming(ttl_s=10.0, margin_s=1.0)
HOST_COUNT = 5
NUMBER_COUNT = 2
STEP_S = 0.05
SIMULATED_S = 600


class Store:
    """What the majority has agreed on."""

    def __init__(self) -> None:
        self.revision = 1
        self.entries: dict[str, Entry] = {}

    def transact(self, conditions: list[Condition], operations: list[Operation]) -> Outcome:
        if not all(self._holds(condition) for condition in conditions):
            return Outcome(succeeded=False, revision=self.revision)
        self.revision += 1
        for operation in operations:
            match operation:
                case Delete():
                    self.entries.pop(operation.key, None)
                case Put():
                    old = self.entries.get(operation.key)
                    self.entries[operation.key] = Entry(
                        key=operation.key,
                        value=operation.value,
                        create_revision=old.create_revision if old else self.revision,
                        mod_revision=self.revision,
                        lease_id=0,
                    )
        return Outcome(succeeded=True, revision=self.revision)

    def _holds(self, condition: Condition) -> bool:
        entry = self.entries.get(condition.key)
        match condition.field:
            case Field.VALUE:
                return entry is not None and entry.value == condition.operand
            case Field.CREATE_REVISION:
                return (entry.create_revision if entry else 0) == condition.operand
            case Field.MOD_REVISION:
                return (entry.mod_revision if entry else 0) == condition.operand


class FarEtcd:
    """The client of one host: the way to the store takes time, and is sometimes bad for a while."""

    def __init__(self, store: Store, network: ManualClock, clock: SkewedClock, chance: random.Random) -> None:
        self._store = store
        self._network = network
        self._chance = chance
        self._late: set[asyncio.Task] = set()
        self.clock = clock
        self.is_cut = False

    async def read_prefix(self, prefix: str) -> Snapshot:
        return await self._send(
            lambda: Snapshot(
                revision=self._store.revision,
                entries={key: entry for key, entry in self._store.entries.items() if key.startswith(prefix)},
            )
        )

    async def transact(self, conditions, operations) -> Outcome:
        return await self._send(lambda: self._store.transact(list(conditions), list(operations)))

    async def _send(self, act):
        """Act in the store some time later; the answer may come too late, or never, whether it was done or not."""

        async def deliver():
            await self._network.sleep(self._delay_s())
            while self.is_cut:
                # What waits in a frozen connection arrives when it thaws.
                await self._network.sleep(0.2)
            return act()

        delivery = asyncio.ensure_future(deliver())
        self._late.add(delivery)
        delivery.add_done_callback(self._late.discard)
        timer = asyncio.ensure_future(self._network.sleep(1.0))
        await asyncio.wait((delivery, timer), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        if not delivery.done() or self._chance.random() < 0.05:
            raise EtcdUnavailable("no answer")
        await self._network.sleep(self._delay_s())
        while self.is_cut:
            await self._network.sleep(0.2)
        return delivery.result()

    def _delay_s(self) -> float:
        return self._chance.choice([0.001, 0.01, 0.1, 0.3, self._chance.uniform(0, 20)])


@pytest.mark.parametrize("seed", range(6))
async def test_no_two_hosts_ever_hold_one_number(seed: int) -> None:
    chance = random.Random(seed)
    network = ManualClock()
    store = Store()
    held: dict[int, NumberLease] = {}
    gained: list[tuple[int, int]] = []

    def check() -> None:
        numbers = [lease.number for lease in held.values() if lease.is_held]
        assert len(numbers) == len(set(numbers)), (seed, network.monotonic_s())

    async def live(host: int, etcd: FarEtcd) -> None:
        leases = NumberLeases(etcd, prefix="/n/", numbers=range(NUMBER_COUNT), owner=str(host), timing=TIMING)  # type: ignore[arg-type]  # as much of a client as it needs
        while True:
            async with leases.hold() as lease:
                held[host] = lease
                gained.append((lease.number, lease.token))
                check()
                leaving = asyncio.ensure_future(network.sleep(chance.uniform(1, 120)))
                losing = asyncio.ensure_future(lease.wait_lost())
                await asyncio.wait((leaving, losing), return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                losing.cancel()

    etcds = []
    for _ in range(HOST_COUNT):
        clock = SkewedClock(network, wall_offset_s=chance.uniform(-1e6, 1e6), rate=chance.uniform(0.96, 1.04))
        etcds.append(FarEtcd(store, network, clock, chance))
    tasks = [asyncio.ensure_future(live(host, etcd)) for host, etcd in enumerate(etcds)]
    while network.monotonic_s() < SIMULATED_S:
        if chance.random() < 0.03:
            etcd = chance.choice(etcds)
            etcd.is_cut = not etcd.is_cut
        network.advance(STEP_S)
        for _ in range(12):
            await asyncio.sleep(0)
        check()
        for task in tasks:
            assert not task.done(), task
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            # Their last words take simulated time as well.
            while not task.done():
                network.advance(1)
                await asyncio.sleep(0)
    assert len(gained) > 10
    for number in range(NUMBER_COUNT):
        tokens = [token for each, token in gained if each == number]
        assert tokens == sorted(set(tokens))


class Lending(Store):
    """A store that notes which numbers were free or lent when a number was lent."""

    def __init__(self) -> None:
        super().__init__()
        self.lent: list[tuple[int, set[int]]] = []

    def transact(self, conditions: list[Condition], operations: list[Operation]) -> Outcome:
        before = self.numbers()
        outcome = super().transact(conditions, operations)
        puts = {operation.key for operation in operations if isinstance(operation, Put)}
        if outcome.succeeded and "/n/next" in puts:
            (key,) = puts - {"/n/next"}
            self.lent.append((int(key.removeprefix("/n/")), before))
        return outcome

    def numbers(self) -> set[int]:
        return {int(key.removeprefix("/n/")) for key in self.entries if key != "/n/next"}


@pytest.mark.parametrize("seed", range(4))
async def test_a_number_is_lent_again_only_after_all_others_that_were_free(seed: int) -> None:
    """Also where claims race, answers are lost and holders die without a word."""
    chance = random.Random(seed)
    network = ManualClock()
    store = Lending()
    numbers = range(8)
    held: dict[int, NumberLease] = {}

    async def live(host: int, etcd: FarEtcd) -> None:
        while True:
            # A process of its own each time: what an earlier one has seen is forgotten.
            leases = NumberLeases(etcd, prefix="/n/", numbers=numbers, owner=str(host), timing=TIMING)  # type: ignore[arg-type]  # as much of a client as it needs
            async with leases.hold() as lease:
                held[host] = lease
                leaving = asyncio.ensure_future(network.sleep(chance.uniform(1, 40)))
                losing = asyncio.ensure_future(lease.wait_lost())
                await asyncio.wait((leaving, losing), return_when=asyncio.FIRST_COMPLETED)
                leaving.cancel()
                losing.cancel()
                # Some die instead of leaving: the claim stays until it is swept away.
                etcd.is_cut = chance.random() < 0.2
            etcd.is_cut = False

    etcds = [FarEtcd(store, network, SkewedClock(network), chance) for _ in range(4)]
    tasks = [asyncio.ensure_future(live(host, etcd)) for host, etcd in enumerate(etcds)]
    while network.monotonic_s() < SIMULATED_S:
        network.advance(STEP_S)
        for _ in range(12):
            await asyncio.sleep(0)
        numbers_held = [lease.number for lease in held.values() if lease.is_held]
        assert len(numbers_held) == len(set(numbers_held)), (seed, network.monotonic_s())
        for task in tasks:
            assert not task.done(), task
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            while not task.done():
                network.advance(1)
                await asyncio.sleep(0)
    assert len(store.lent) > 4 * len(numbers)
    last_lent: dict[int, int] = {}
    for place, (number, _) in enumerate(store.lent):
        earlier = last_lent.get(number)
        last_lent[number] = place
        if earlier is None:
            continue
        between = {other for other, _ in store.lent[earlier + 1 : place]}
        taken = store.lent[earlier][1]
        assert set(numbers) - {number} <= between | taken, (seed, number, earlier, place)
