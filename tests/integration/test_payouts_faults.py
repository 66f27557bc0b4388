"""The wallet fails in every way it can; payouts wait, stop or go on, and nobody is paid twice."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from coins.bitcoin.transaction import parse_transaction
from nodes.faults import Fault, FaultKind
from nodes.interface import AddressInfo, BroadcastOutcome, SignedTransaction
from payouts.domain import Arrow, BatchStatus
from payouts.errors import PayerLockLost, WaitCause, Waiting
from payouts.lock import LOCK_NAMESPACE
from runtime.exclusive import Alone
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from tests.fakes.payouts_world import COIN, SETTINGS, Crasher, SimulatedBench, SimulatedCrash, World


@pytest.fixture
async def bench() -> SimulatedBench:
    return SimulatedBench()


@pytest.fixture
async def world(database: Any, bench: SimulatedBench) -> World:
    return await World.make(database.pool, bench)


def with_settings(world: World, **changes: Any) -> None:
    fields = {name: getattr(SETTINGS, name) for name in SETTINGS.__struct_fields__}
    world.settings = type(SETTINGS)(**{**fields, **changes})


class Wrapped:
    """A wallet that answers like another one, but for what a test replaces."""

    def __init__(self, inner: Any, **replaced: Any) -> None:
        self._inner = inner
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._inner, name)


# --- the wallet does not answer ---


@pytest.mark.parametrize("kind", [FaultKind.DROP_ANSWER, FaultKind.TIMEOUT, FaultKind.REFUSE])
async def test_broadcast_without_an_answer_is_repeated_with_the_same_bytes(
    world: World, bench: SimulatedBench, kind: FaultKind
) -> None:
    """P2 P3"""
    await world.miner(2_000_000)
    bench.node.faults.fail_next("sendrawtransaction", Fault(kind=kind))

    reason = await world.round()
    unsure = await world.batch()
    await world.pay()

    assert "cannot be reached" in reason
    assert unsure.status is BatchStatus.SIGNED
    assert (await world.batch()).raw == unsure.raw
    await world.assert_everybody_paid_once()


@pytest.mark.parametrize(
    "method", ["listunspent", "estimatesmartfee", "fundrawtransaction", "validateaddress", "gettransaction"]
)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.REFUSE),
        Fault(kind=FaultKind.TIMEOUT),
        Fault(kind=FaultKind.DROP_ANSWER),
        Fault(kind=FaultKind.ERROR, code=-18, message="Requested wallet does not exist or is not loaded"),
        Fault(kind=FaultKind.ERROR, code=-28, message="Loading wallet..."),
        Fault(kind=FaultKind.ERROR, code=-13, message="Please enter the wallet passphrase"),
    ],
    ids=["refused", "timeout", "answer lost", "not loaded", "warming up", "locked"],
)
async def test_any_call_that_fails_makes_payouts_wait_and_go_on_later(
    world: World, bench: SimulatedBench, method: str, fault: Fault
) -> None:
    """P3"""
    await world.miner(2_000_000)
    bench.node.faults.fail_next(method, fault)

    reasons = []
    for _ in range(4):
        reasons.append(await world.round())
        await bench.mine()
    await world.pay()

    assert [reason for reason in reasons if reason], "the operator is told"
    await world.assert_everybody_paid_once()


async def test_node_that_is_down_leaves_reserved_amounts_visible(world: World, bench: SimulatedBench) -> None:
    account = await world.miner(2_000_000)
    crasher = Crasher({Arrow.RESERVED})
    with pytest.raises(SimulatedCrash):
        await world.round(world.payer(checkpoint=crasher.checkpoint))
    bench.node.go_down()

    reason = await world.round()

    assert "cannot be reached" in reason
    assert (await world.balance(account)).reserved_atomic == 2_000_000
    assert (await world.balance(account)).payable_atomic == 0
    bench.node.come_up()
    await world.pay()
    await world.assert_everybody_paid_once()


# --- funds and fees ---


async def test_wallet_without_enough_holds_the_batch_before_it_is_made(database: Any) -> None:
    """P8"""
    bench = SimulatedBench(coinbases=0)
    world = await World.make(database.pool, bench)
    await world.miner(2_000_000)

    reason = await world.round()

    assert "the wallet can spend 0, the batch and its fee ceiling need 3000000" in reason
    assert await world.batches() == []
    bench.node.mine_block(bench.node.wallet.new_address())
    await bench.mine(COIN.maturity_blocks)
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_only_coin_locked_by_an_unstored_build_is_freed_by_the_next_payer(database: Any) -> None:
    """P3 P8: what a crash between building and storing has locked does not stop payouts for good."""
    bench = SimulatedBench(coinbases=1)
    world = await World.make(database.pool, bench)
    freed = []

    async def release_all() -> None:
        freed.append(set(bench.node.wallet.locked))
        bench.node.wallet.locked.clear()

    bench.wallet = Wrapped(bench.node, release_all=release_all)  # type: ignore[assignment]
    await world.miner(2_000_000)

    assert await world.crash_at(Arrow.BUILT)
    await world.pay()

    assert len(freed) == 1
    await world.assert_everybody_paid_once()


async def test_coins_locked_by_an_unstored_build_are_free_again_in_the_wallet_itself(database: Any) -> None:
    """P3 P8: the simulated wallet's own locks, through the interface every wallet has."""
    bench = SimulatedBench(coinbases=1)
    world = await World.make(database.pool, bench)
    await world.miner(2_000_000)
    assert await world.crash_at(Arrow.BUILT)
    assert bench.node.wallet.locked

    assert await world.round() == ""

    await world.pay()
    await world.assert_everybody_paid_once()


async def test_fee_rate_above_the_ceiling_makes_payouts_wait(world: World, bench: SimulatedBench) -> None:
    """P9"""
    await world.miner(2_000_000)
    bench.node.fee_rate = SETTINGS.fee_rate_max_sat_per_kvb + 1

    reason = await world.round()

    assert reason == "a fee rate of 500001 sat/kvB is needed, the ceiling is 500000"
    assert await world.batches() == []
    bench.node.fee_rate = 20_000
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_fee_above_the_ceiling_stops_the_batch_for_review(world: World, bench: SimulatedBench) -> None:
    """P9"""
    with_settings(world, fee_atomic_max=1_000)
    account = await world.miner(2_000_000)

    await world.round()

    batch = await world.batch()
    assert batch.status is BatchStatus.REVIEW
    assert "above the ceiling of 1000" in batch.reason
    assert batch.raw is None
    assert bench.node.wallet.locked == set()
    assert "is in review" in await world.round(), "no new batch while one waits for the operator"
    with_settings(world)
    await world.reviewer().void(batch.batch_id, reason="ceiling raised", request_id="r1")
    assert (await world.balance(account)).payable_atomic == 2_000_000
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_reserved_batch_for_which_the_fee_has_risen_makes_room_when_the_operator_raises_the_ceiling(
    world: World, bench: SimulatedBench
) -> None:
    """P8 P9: its own policy was committed with it; nothing was sent for it, so another batch takes its place."""
    await world.miner(2_000_000)
    assert await world.crash_at(Arrow.RESERVED)

    async def fee_rate_sat_per_kvb(*, target_blocks: int) -> int:
        assert target_blocks
        return SETTINGS.fee_rate_max_sat_per_kvb + 1

    wallet: Any = Wrapped(bench.node, fee_rate_sat_per_kvb=fee_rate_sat_per_kvb)
    assert "the ceiling is 500000" in await world.round(world.payer(wallet=wallet))
    assert (await world.batch()).status is BatchStatus.RESERVED
    with_settings(world, fee_rate_max_sat_per_kvb=600_000)

    assert await world.round(world.payer(wallet=wallet)) == ""

    given_up, taken = await world.batches()
    assert (given_up.status, given_up.raw) == (BatchStatus.VOIDED, None)
    assert (taken.status, taken.fee_policy.rate_max_sat_per_kvb) == (BatchStatus.BROADCAST, 600_000)
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_reserved_batch_that_lacks_only_its_fee_ceiling_makes_room_when_the_operator_lowers_it(
    world: World, bench: SimulatedBench
) -> None:
    """P8"""
    await world.miner(await bench.wallet.balance_atomic() - 500_000)
    with_settings(world, fee_atomic_max=500_000)
    assert await world.crash_at(Arrow.RESERVED)
    bench.node.wallet.locked.clear()
    batch = await world.batch()
    spent = await bench.wallet.build([(await world.bench.new_address(), 100_000)], fee_rate_sat_per_kvb=10_000)
    await bench.wallet.broadcast(spent.raw)
    await bench.mine()
    assert "its fee ceiling need" in await world.round()
    assert (await world.batch()).status is BatchStatus.RESERVED
    with_settings(world, fee_atomic_max=300_000)

    assert await world.round() == ""

    given_up, taken = await world.batches()
    assert (given_up.batch_id, given_up.status) == (batch.batch_id, BatchStatus.VOIDED)
    assert taken.status is BatchStatus.BROADCAST
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_fee_that_is_absurdly_low_stops_the_batch_for_review(world: World, bench: SimulatedBench) -> None:
    """P9"""
    await world.miner(2_000_000)

    async def build(outputs: Sequence[tuple[str, int]], *, fee_rate_sat_per_kvb: int) -> SignedTransaction:
        return replace(await bench.node.build(outputs, fee_rate_sat_per_kvb=fee_rate_sat_per_kvb), fee_atomic=1)

    await world.round(world.payer(wallet=Wrapped(bench.node, build=build)))  # type: ignore[arg-type]

    assert "absurdly low" in (await world.batch()).reason
    assert len(bench.node.chain.mempool) == 0


async def test_transaction_that_pays_something_else_is_not_sent(world: World, bench: SimulatedBench) -> None:
    """P5"""
    account = await world.miner(2_000_000)

    async def build(outputs: Sequence[tuple[str, int]], *, fee_rate_sat_per_kvb: int) -> SignedTransaction:
        less = [(address, amount - 1) for address, amount in outputs]
        return await bench.node.build(less, fee_rate_sat_per_kvb=fee_rate_sat_per_kvb)

    await world.round(world.payer(wallet=Wrapped(bench.node, build=build)))  # type: ignore[arg-type]

    batch = await world.batch()
    assert batch.status is BatchStatus.REVIEW
    assert f"payment to {account}: expected 2000000, found 1999999" in batch.reason
    assert len(bench.node.chain.mempool) == 0


async def test_change_that_goes_to_a_stranger_is_not_sent(world: World, bench: SimulatedBench) -> None:
    """P5"""
    await world.miner(2_000_000)

    async def address_info(address: str) -> AddressInfo:
        return replace(await bench.node.address_info(address), is_mine=False)

    await world.round(world.payer(wallet=Wrapped(bench.node, address_info=address_info)))  # type: ignore[arg-type]

    assert "which is not the wallet's" in (await world.batch()).reason


# --- whom a batch pays ---


async def test_dust_and_balances_below_the_threshold_stay_as_balance(world: World) -> None:
    """P5"""
    small = await world.miner(999_999, is_due=False)
    dust = await world.miner(999, is_due=False)
    world.thresholds.own[dust] = 1
    await world.miner(1_000_000)

    await world.pay()

    assert (await world.balance(small)).payable_atomic == 999_999
    assert (await world.balance(dust)).payable_atomic == 999
    await world.assert_everybody_paid_once()


async def test_accounts_are_paid_at_their_own_thresholds(world: World) -> None:
    eager = await world.miner(50_000)
    patient = await world.miner(5_000_000, is_due=False)
    world.thresholds.own = {eager: 50_000, patient: 5_000_001}

    await world.pay()

    await world.assert_everybody_paid_once()


async def test_thresholds_that_cannot_be_had_make_payouts_wait_instead_of_taking_the_default(world: World) -> None:
    await world.miner(2_000_000)
    world.thresholds.failure = Waiting(
        "the miner service does not tell the accounts' thresholds: away", cause=WaitCause.MINERS
    )

    assert "away" in await world.round()

    assert await world.batches() == []
    world.thresholds.failure = None
    await world.pay()
    await world.assert_everybody_paid_once()


@pytest.mark.parametrize(
    ("address", "word"),
    [("not an address", "not an address"), ("ltc1qw508d6qejxtdg4y5r3zarvary0c5xw7kgmn4n9", "litecoin")],
    ids=["garbage", "other network"],
)
async def test_one_bad_address_is_isolated_and_the_rest_goes_out(world: World, address: str, word: str) -> None:
    """P6"""
    await world.miner(2_000_000)
    await world.miner(3_000_000)
    await world.credit(address, 9_000_000)

    await world.pay()

    assert word in (await world.isolated())[address]
    assert (await world.balance(address)).payable_atomic == 9_000_000
    await world.assert_everybody_paid_once()


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (AddressInfo(is_valid=False, script=b"", is_mine=None), "invalid"),
        (AddressInfo(is_valid=True, script=b"\x51", is_mine=False), "the node's script for it is 51"),
    ],
    ids=["invalid", "other script"],
)
async def test_address_that_the_node_sees_differently_is_isolated_until_it_agrees(
    world: World, bench: SimulatedBench, answer: AddressInfo, word: str
) -> None:
    """P6"""
    await world.miner(2_000_000)
    odd = await world.miner(3_000_000)

    async def address_info(address: str) -> AddressInfo:
        return answer if address == odd else await bench.node.address_info(address)

    payer = world.payer(wallet=Wrapped(bench.node, address_info=address_info))  # type: ignore[arg-type]
    await world.round(payer)

    assert word in (await world.isolated())[odd]
    assert odd not in await world.items((await world.batch()).batch_id)
    await world.pay()
    assert await world.isolated() == {}
    await world.assert_everybody_paid_once()


async def test_more_accounts_than_outputs_go_out_in_several_batches(world: World) -> None:
    """P7"""
    with_settings(world, outputs_max=3)
    for number in range(10):
        await world.miner(2_000_000 + number)

    await world.pay()

    assert [batch.payout_count for batch in await world.batches()] == [3, 3, 3, 1]
    await world.assert_everybody_paid_once()


async def test_batch_stays_below_the_weight_limit(world: World) -> None:
    """P7"""
    with_settings(world, weight_max=2_000)
    for _ in range(25):
        await world.miner(2_000_000)

    await world.pay()

    batches = await world.batches()
    assert len(batches) > 2
    assert all(batch.weight <= 2_000 for batch in batches)
    await world.assert_everybody_paid_once()


async def test_two_accounts_of_one_script_are_paid_in_two_batches(world: World, bench: SimulatedBench) -> None:
    """P5: bech32 may be written in capitals; two outputs of one script could not be told apart."""
    address = await world.miner(2_000_000, kind="p2sh-segwit")
    shouted = await world.miner(3_000_000)
    world.expected.pop(shouted)
    await world.credit(shouted.upper(), 1_000_000)

    await world.pay()

    assert await bench.received_atomic(shouted) == 4_000_000
    assert await bench.received_atomic(address) == 2_000_000
    await world.assert_books_agree()
    assert [batch.payout_count for batch in await world.batches()] == [2, 1]


# --- one payer at a time ---


async def test_second_payer_gets_no_lock_while_the_first_pays(world: World) -> None:
    """P4"""
    await world.miner(2_000_000)
    first, second = world.payer(), world.payer()

    async with first.hold(Alone()) as is_first_held, second.hold(Alone()) as is_second_held:
        assert is_first_held
        assert not is_second_held
        assert first.is_active
        assert not second.is_active
    async with second.hold(Alone()) as is_second_held:
        assert is_second_held


async def test_many_payers_at_once_pay_everybody_exactly_once(world: World, bench: SimulatedBench) -> None:
    """P4"""
    for number in range(5):
        await world.miner(2_000_000 + number)

    for _ in range(4):
        await asyncio.gather(*(world.round(world.payer()) for _ in range(4)))
        await bench.mine()
    await world.pay()

    await world.assert_everybody_paid_once()


async def end_lock_session(world: World) -> None:
    async with world.pool.acquire() as conn:
        await conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::bigint",
            LOCK_NAMESPACE,
        )


async def test_payer_whose_lock_connection_is_lost_stops_at_once_in_the_middle_of_a_call(
    world: World, bench: SimulatedBench
) -> None:
    """P4: nothing more is sent, and the next payer continues."""
    await world.miner(2_000_000)
    is_sending = asyncio.Event()
    sent: list[bytes] = []

    async def broadcast(raw: bytes) -> BroadcastOutcome:
        is_sending.set()
        await asyncio.Event().wait()
        sent.append(raw)
        raise AssertionError("never reached")

    payer = world.payer(wallet=Wrapped(bench.node, broadcast=broadcast))  # type: ignore[arg-type]
    running = asyncio.create_task(payer.run(Alone()))
    async with asyncio.timeout(20):
        await is_sending.wait()
        await end_lock_session(world)
        with pytest.raises(PayerLockLost):
            await running

    assert sent == []
    assert not payer.is_active
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_payer_that_lost_its_lock_does_not_broadcast(world: World, bench: SimulatedBench) -> None:
    """P4: the lock is asked for right before each call that sends."""
    await world.miner(2_000_000)

    async def checkpoint(arrow: Arrow) -> None:
        if arrow is Arrow.SENDING:
            await end_lock_session(world)

    with pytest.raises((PayerLockLost, asyncpg.PostgresConnectionError, asyncpg.PostgresError)):
        await world.round(world.payer(checkpoint=checkpoint))

    assert len(bench.node.chain.mempool) == 0
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_payer_runs_on_its_own_until_it_is_cancelled(world: World, bench: SimulatedBench) -> None:
    await world.miner(2_000_000)
    running = asyncio.create_task(world.payer().run(Alone()))

    async with asyncio.timeout(20):
        while not await world.batches() or (await world.batch()).status is not BatchStatus.CONFIRMED:
            await bench.mine()
            await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await world.assert_everybody_paid_once()


# --- transactions that do not go through ---


async def test_double_spent_transaction_goes_to_review_and_is_voided_once_it_is_dead(
    world: World, bench: SimulatedBench
) -> None:
    """P3 P10: voided by the operator, never automatically, and not before it is certain."""
    account = await world.miner(2_000_000)
    await world.round()
    batch = await world.batch()
    bench.node.mine_double_spend(batch.txid_hex)

    await world.round()
    assert (await world.batch()).status is BatchStatus.REVIEW
    with pytest.raises(FailedPrecondition, match="1 deep, 2 are needed"):
        await world.reviewer().void(batch.batch_id, reason="double spent", request_id="r1")
    await bench.mine()
    await world.round()
    assert (await world.balance(account)).reserved_atomic == 2_000_000, "nothing comes back by itself"

    for _ in range(2):
        await world.reviewer().void(batch.batch_id, reason="double spent", request_id="r1")

    assert (await world.batch()).status is BatchStatus.VOIDED
    assert (await world.balance(account)).payable_atomic == 2_000_000
    await world.assert_books_agree()
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_transaction_that_a_reorganisation_takes_out_is_waited_for_again(
    world: World, bench: SimulatedBench
) -> None:
    """P10"""
    await world.miner(2_000_000)
    await world.round()
    await bench.mine()
    await world.round()
    assert (await world.batch()).confirmations == 1

    bench.node.reorganise(1)
    await world.round()

    assert ((await world.batch()).status, (await world.batch()).confirmations) == (BatchStatus.BROADCAST, 0)
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_transaction_that_dropped_out_is_sent_again_with_the_same_bytes(
    world: World, bench: SimulatedBench
) -> None:
    """P10"""
    await world.miner(2_000_000)
    await world.round()
    bench.node.chain.mempool.clear()

    await world.round()

    assert [entry.raw for entry in bench.node.chain.mempool.values()] == [(await world.batch()).raw]
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_transaction_that_dropped_out_and_is_refused_returns_to_review_and_back_when_it_is_seen(
    world: World, bench: SimulatedBench
) -> None:
    """P10"""
    await world.miner(2_000_000)
    await world.round()
    raw = (await world.batch()).raw
    assert raw is not None
    bench.node.chain.mempool.clear()

    async def broadcast(raw: bytes) -> BroadcastOutcome:
        return BroadcastOutcome.from_refusal("min relay fee not met", is_known=False)

    await world.round(world.payer(wallet=Wrapped(bench.node, broadcast=broadcast)))  # type: ignore[arg-type]
    assert (await world.batch()).status is BatchStatus.REVIEW
    assert "min relay fee not met" in (await world.batch()).reason
    with pytest.raises(FailedPrecondition, match="may still confirm"):
        reviewer = world.reviewer(wallet=Wrapped(bench.node, broadcast=broadcast))  # type: ignore[arg-type]
        await reviewer.void((await world.batch()).batch_id, reason="refused", request_id="r1")
    bench.node.send(raw)
    await bench.mine(2)
    await world.pay()
    await world.round()

    assert (await world.batch()).status is BatchStatus.CONFIRMED
    await world.assert_everybody_paid_once()


async def test_signed_batch_whose_inputs_were_spent_meanwhile_goes_to_review(
    world: World, bench: SimulatedBench
) -> None:
    """P3"""
    account = await world.miner(2_000_000)
    assert await world.crash_at(Arrow.STORED)
    batch = await world.batch()
    assert batch.raw is not None
    bench.node.send(batch.raw)
    bench.node.mine_double_spend(batch.txid_hex)
    await bench.mine(3)
    bench.node.chain.mempool.clear()

    await world.round()

    assert (await world.batch()).status is BatchStatus.REVIEW
    assert (await world.balance(account)).reserved_atomic == 2_000_000
    await world.reviewer().void(batch.batch_id, reason="inputs spent", request_id="r1")
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_signed_batch_that_is_in_the_chain_already_goes_on_even_when_the_node_sees_a_conflict(
    world: World, bench: SimulatedBench
) -> None:
    """P3"""
    await world.miner(2_000_000)
    assert await world.crash_at(Arrow.SENT)
    await bench.mine()

    async def broadcast(raw: bytes) -> BroadcastOutcome:
        return BroadcastOutcome.from_refusal("bad-txns-inputs-missingorspent", is_known=False)

    await world.round(world.payer(wallet=Wrapped(bench.node, broadcast=broadcast)))  # type: ignore[arg-type]

    assert (await world.batch()).status is BatchStatus.BROADCAST
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_stored_bytes_that_no_longer_pay_the_items_are_not_sent(world: World, bench: SimulatedBench) -> None:
    """P5"""
    await world.miner(2_000_000)
    assert await world.crash_at(Arrow.STORED)
    batch = await world.batch()
    assert batch.raw is not None
    script = parse_transaction(batch.raw).outputs[0].script
    async with world.pool.acquire() as conn:
        await conn.execute("ALTER TABLE payouts.batch DISABLE TRIGGER USER")
        stolen = batch.raw.replace(script, script[:-1] + bytes([script[-1] ^ 1]))
        await conn.execute("UPDATE payouts.batch SET raw = $1", stolen)
        await conn.execute("ALTER TABLE payouts.batch ENABLE TRIGGER USER")

    await world.round()

    assert (await world.batch()).status is BatchStatus.REVIEW
    assert "the stored transaction does not pay the stored items" in (await world.batch()).reason
    assert len(bench.node.chain.mempool) == 0


async def test_unconfirmed_transaction_is_handed_over_again_after_a_while(world: World, bench: SimulatedBench) -> None:
    await world.miner(2_000_000)
    await world.round()
    before = (await world.batch()).send_time_ms

    await world.round()
    assert (await world.batch()).send_time_ms == before
    world.clock.advance(SETTINGS.rebroadcast_s + 1)
    await world.round()

    assert (await world.batch()).send_time_ms > before
    await world.pay()
    await world.assert_everybody_paid_once()


# --- what the operator may not do ---


async def test_void_is_refused_for_what_is_not_in_review(world: World) -> None:
    await world.miner(2_000_000)
    await world.round()
    batch = await world.batch()
    reviewer = world.reviewer()

    with pytest.raises(FailedPrecondition, match="is broadcast; only a batch in review"):
        await reviewer.void(batch.batch_id, reason="why not", request_id="r1")
    with pytest.raises(InvalidArgument, match="reason"):
        await reviewer.void(batch.batch_id, reason="", request_id="r1")
    with pytest.raises(InvalidArgument, match="request_id"):
        await reviewer.void(batch.batch_id, reason="why not", request_id="")
    await world.pay()
    with pytest.raises(FailedPrecondition, match="is confirmed"):
        await reviewer.void(batch.batch_id, reason="why not", request_id="r2")
    with pytest.raises(NotFound):
        await reviewer.void(UUID(int=1), reason="why not", request_id="r3")
    await world.assert_everybody_paid_once()


async def test_void_waits_for_a_wallet_that_is_away(world: World, bench: SimulatedBench) -> None:
    await world.miner(2_000_000)
    await world.round()
    batch = await world.batch()
    bench.node.mine_double_spend(batch.txid_hex)
    await world.round()
    bench.node.go_down()

    with pytest.raises(Unavailable):
        await world.reviewer().void(batch.batch_id, reason="spent", request_id="r1")

    assert (await world.batch()).status is BatchStatus.REVIEW


async def test_void_is_refused_while_the_node_has_not_the_whole_chain(world: World, bench: SimulatedBench) -> None:
    """P3: to such a node all inputs are missing, also those of a transaction that has long confirmed."""
    await world.miner(2_000_000)
    await world.round()
    batch = await world.batch()
    bench.node.mine_double_spend(batch.txid_hex)
    await bench.mine(3)
    await world.round()
    bench.node.is_initial_download = True

    with pytest.raises(FailedPrecondition, match="still downloading the chain"):
        await world.reviewer().void(batch.batch_id, reason="spent", request_id="r1")

    bench.node.is_initial_download = False
    await world.reviewer().void(batch.batch_id, reason="spent", request_id="r1")
    await world.pay()
    await world.assert_everybody_paid_once()


async def test_void_that_finds_the_transaction_alive_gives_it_to_the_payer(world: World, bench: SimulatedBench) -> None:
    await world.miner(2_000_000)
    await world.round()
    bench.node.chain.mempool.clear()

    async def broadcast(raw: bytes) -> BroadcastOutcome:
        return BroadcastOutcome.from_refusal("mempool full", is_known=False)

    await world.round(world.payer(wallet=Wrapped(bench.node, broadcast=broadcast)))  # type: ignore[arg-type]
    with pytest.raises(FailedPrecondition, match="the payer follows it"):
        await world.reviewer().void((await world.batch()).batch_id, reason="refused", request_id="r1")
    await world.round()

    assert (await world.batch()).status is BatchStatus.BROADCAST
    await world.pay()
    await world.assert_everybody_paid_once()
