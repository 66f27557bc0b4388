"""The pure rules of the second face: numbers, parameters, samples, messages."""

import json
from datetime import UTC, datetime

import msgspec
import pytest

from coins import registry
from gateway import models as own
from gateway.compat import notices, translation
from gateway.compat.numbers import configured, money, network_difficulty, ratio, whole
from gateway.compat.performance import OTHERS, Step, by_time, finished, grouped
from gateway.compat.query import BlockState, Query, SampleInterval, SampleRange, ValueRefused, read_query
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2

LITECOIN = registry.get("litecoin")
TIME = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
BLOCK = own.Block(
    height=7,
    block_hash="ab" * 32,
    status=own.BlockStatus.IMMATURE,
    confirmations=40,
    maturity_blocks=100,
    found_time=TIME,
    finder="ltc1qfinder",
    worker="rig",
    scheme="pplns",
    reward_atomic=625_000_000,
    fees_atomic=0,
    pool_fee_atomic=0,
    remainder_atomic=0,
    coinbase_txid="cd" * 32,
    network_work="400",
    round_work="300",
    window_work="0",
    effort_percent="75.00",
    hold_reason="",
)


def step(time_s: int, hps: int, accepted: int = 0, *, length_s: int = 600) -> Step:
    return Step(time_ms=time_s * 1_000, length_s=length_s, hps=hps, accepted=accepted)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (money(123_450_000, decimals=8), b"1.23450000"),
        (money(-1, decimals=8), b"-0.00000001"),
        (money(0, decimals=8), b"0.00000000"),
        (money(2_100_000_000_000_001, decimals=8), b"21000000.00000001"),
        (money(5, decimals=0), b"5"),
        (ratio(5, 3), b"1.666666"),
        (ratio(3, 2), b"1.5"),
        (ratio(4, 2), b"2"),
        (ratio(1, 0), b"0"),
        (ratio(15_000, 10_000, digits=4), b"1.5"),
        (whole(""), b"0"),
        (whole(str(10**21)), b"1" + b"0" * 21),
        (network_difficulty(0x1_0001_0001), b"1"),
        (network_difficulty(2), b"0.000000000465"),
        (configured(1e-06), b"0.000001"),
        (configured(1024.0), b"1024"),
        (configured(1e6), b"1000000"),
    ],
)
def test_numbers_are_written_without_a_float(number, text):
    """P1: money with every digit, ratios rounded down."""
    assert bytes(number) == text


def test_parameters_have_the_defaults_of_the_original():
    query = read_query([], page_size_max=1_000)
    assert query == Query(
        page=0,
        page_size=15,
        top_miners_h=24,
        reach=SampleRange.DAY,
        interval=SampleInterval.HOUR,
        states=frozenset(BlockState),
    )


def test_the_first_of_a_repeated_parameter_counts_and_empty_ones_do_not():
    query = read_query(
        [("page", "2"), ("Page", "3"), ("pageSize", ""), ("r", "month"), ("i", "2"), ("perfMode", "Hour")],
        page_size_max=10,
    )
    assert (query.page, query.page_size, query.offset) == (2, 10, 20)
    assert (query.reach, query.interval) == (SampleRange.MONTH, SampleInterval.DAY)


@pytest.mark.parametrize("pair", [("r", "Year"), ("i", "Month"), ("mode", "0"), ("page", "1.5"), ("page", "٣")])
def test_a_value_that_is_none_is_refused(pair):
    with pytest.raises(ValueRefused):
        read_query([pair], page_size_max=10)


def test_only_steps_that_are_over_and_recent_count():
    steps = [step(0, 1), step(600, 2), step(1_200, 3)]
    assert finished(steps, now_ms=1_500_000, since_ms=600_000) == [steps[1]]


def test_steps_are_put_together_by_their_mean():
    assert grouped([step(0, 100, 6), step(600, 51, 6), step(3_600, 7)], group_ms=3_600_000) == [
        step(0, 75, 12, length_s=1_200),
        step(3_600, 7),
    ]


def test_times_without_shares_are_left_out_and_the_rest_stands_together():
    everybody = [step(0, 10, 5), step(600, 0)]
    workers = {"a": [step(0, 6, 3), step(600, 0)], "b": [step(0, 0), step(600, 0)]}
    assert by_time(everybody, workers, has_others=True) == [(0, {"a": step(0, 6, 3), OTHERS: step(0, 4, 2)})]
    assert by_time(everybody, workers, has_others=False) == [(0, {"a": step(0, 6, 3)})]


def test_an_orphaned_block_brought_nothing_and_effort_is_left_out_while_unknown():
    block = rewards_pb2.Block(
        height=9,
        status=rewards_pb2.BLOCK_STATUS_ORPHANED,
        block_hash_hex="ab" * 32,
        reward_atomic=5,
        network_work="400",
        account="ltc1q",
    )
    told = json.loads(msgspec.json.encode(translation.block(block, LITECOIN, pool_id="ltc1")), parse_float=str)
    assert (told["status"], told["reward"], told["confirmationProgress"]) == ("orphaned", "0.00000000", 0)
    assert "effort" not in told
    assert told["infoLink"] == "https://litecoinspace.org/block/" + "ab" * 32


def test_links_lead_to_the_explorer():
    payout = payouts_pb2.Payout(account="ltc1qa", amount_atomic=1, txid_hex="ef" * 32)
    payment = translation.payment(payout, LITECOIN)
    assert payment.address_info_link == "https://litecoinspace.org/address/ltc1qa"
    assert payment.transaction_info_link == "https://litecoinspace.org/tx/" + "ef" * 32
    assert translation.tx_link(LITECOIN, "") is None
    assert translation.tx_link(registry.get("litecoin-regtest"), "ef") is None


def told(notice: notices.Notice) -> dict:
    return json.loads(msgspec.json.encode(notice), parse_float=str)


def test_a_found_block_is_told_with_null_for_what_is_not_known():
    link = "https://litecoinspace.org/address/ltc1qfinder"
    assert told(notices.block_notice("block_found", BLOCK, LITECOIN, pool_id="ltc1")) == {
        "type": "blockfound",
        "poolId": "ltc1",
        "blockHeight": 7,
        "symbol": "LTC",
        "name": "Litecoin",
        "miner": "ltc1qfinder",
        "minerExplorerLink": link,
        "source": None,
    }


def test_progress_and_effort_are_ratios():
    notice = told(notices.block_notice("block_progress", BLOCK, LITECOIN, pool_id="ltc1"))
    assert (notice["type"], notice["progress"], notice["effort"]) == ("blockunlockprogress", "0.4", "0.75")


@pytest.mark.parametrize(
    ("event", "status", "reward"),
    [("block_mature", "confirmed", "6.25000000"), ("block_orphaned", "orphaned", "0.00000000")],
)
def test_an_unlocked_block_is_confirmed_or_orphaned(event, status, reward):
    notice = told(notices.block_notice(event, BLOCK, LITECOIN, pool_id="ltc1"))
    assert set(notice) == {
        *("type", "poolId", "blockHeight", "symbol", "name", "status", "blockType", "blockHash", "reward"),
        *("effort", "miner", "explorerLink", "minerExplorerLink"),
    }
    assert (notice["type"], notice["status"], notice["reward"]) == ("blockunlocked", status, reward)


def test_payments_of_a_transaction_are_told_together():
    payouts = [
        own.Payout(
            payout_id=str(number),
            batch_id="b",
            address="ltc1q",
            amount_atomic=100,
            status=own.PayoutStatus.BROADCAST,
            txid=txid,
            create_time=TIME,
            confirm_time=None,
        )
        for number, txid in enumerate(["aa", "bb", "aa"])
    ]
    first, second = (told(notice) for notice in notices.payment_notices(payouts, LITECOIN, pool_id="ltc1"))
    assert first == {
        "type": "payment",
        "poolId": "ltc1",
        "txFee": None,
        "txIds": ["aa"],
        "txExplorerLinks": ["https://litecoinspace.org/tx/aa"],
        "symbol": "LTC",
        "recipientsCount": 2,
        "amount": "0.00000200",
        "error": None,
    }
    assert (second["recipientsCount"], second["txIds"]) == (1, ["bb"])


def test_height_and_hashrate_are_told():
    assert told(notices.chain_height(8, LITECOIN, pool_id="ltc1"))["type"] == "newchainheight"
    assert told(notices.hashrate("9007199254740993", pool_id="ltc1")) == {
        "type": "hashrateupdated",
        "poolId": "ltc1",
        "hashrate": 9_007_199_254_740_993,
        "miner": None,
        "worker": None,
    }
