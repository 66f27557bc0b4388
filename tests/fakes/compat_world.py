"""Recorded services with a day of a small pool, for the second face of the read API.

It is 22:13:20. The pool does 1,000 H/s with one share a second; Alice does all of it, 700 H/s with "rig1" and 300 H/s
with a worker without a name. The steps of ten minutes began at 21:00; the one of 22:10 is still going on.
"""

from collections.abc import Callable

from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from runtime.rpc.errors import NotFound
from tests.fakes.gateway_world import ADDRESS, COIN, OTHER, GatewayWorld

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
STEP_MS = 10 * MINUTE_MS
NINE_MS = 1_699_995_600_000
"""21:00 that day."""
MIDNIGHT_MS = 1_699_920_000_000
SIX_HOURS_MS = 21_600_000
WORK_PER_STEP = 65_537_000
"""1,000 shares of difficulty 1."""
NETWORK_WORK = 4_295_032_833 * 150
"""Difficulty 150: at a block every 150 seconds 4,295,032,833 H/s."""
_PARTS = {None: 10, "rig1": 7, "": 3}


def _rates(hps: int) -> shares_pb2.Hashrates:
    return shares_pb2.Hashrates(**{f"hps_{span}": str(hps) for span in ("1m", "5m", "15m", "1h", "24h")})


def _block(height: int, status: int, found_time_ms: int, **changes: object) -> rewards_pb2.Block:
    fields = {
        "coin": COIN.coin_id,
        "height": height,
        "block_hash_hex": f"{height:064x}",
        "status": status,
        "confirmations": 25,
        "maturity_blocks": 100,
        "found_time_ms": found_time_ms,
        "account": ADDRESS,
        "worker": "rig1",
        "scheme": "pplns",
        "reward_atomic": 1_250_000_001,
        "coinbase_txid_hex": "cd" * 32,
        "network_work": str(NETWORK_WORK),
        "round_work": str(NETWORK_WORK * 3 // 2),
    }
    return rewards_pb2.Block(**(fields | changes))


BLOCKS = [
    _block(12, rewards_pb2.BLOCK_STATUS_ORPHANED, NINE_MS + 65 * MINUTE_MS, account=OTHER),
    _block(11, rewards_pb2.BLOCK_STATUS_IMMATURE, NINE_MS + 30 * MINUTE_MS),
    _block(10, rewards_pb2.BLOCK_STATUS_CANDIDATE, NINE_MS - MINUTE_MS, round_work="", confirmations=0),
    _block(5, rewards_pb2.BLOCK_STATUS_MATURE, MIDNIGHT_MS - 20 * MINUTE_MS, confirmations=140),
]


def _payout(number: int, account: str, amount_atomic: int, status: int, time_ms: int) -> payouts_pb2.Payout:
    return payouts_pb2.Payout(
        payout_id=f"p{number}",
        batch_id=f"b{number}",
        account=account,
        amount_atomic=amount_atomic,
        status=status,
        txid_hex=f"{number:02x}" * 32,
        create_time_ms=time_ms,
    )


PAYOUTS = [
    _payout(4, ADDRESS, 7, payouts_pb2.BATCH_STATUS_RESERVED, NOW_MS - MINUTE_MS),
    _payout(3, ADDRESS, 100_000_000, payouts_pb2.BATCH_STATUS_BROADCAST, NINE_MS),
    _payout(2, OTHER, 5, payouts_pb2.BATCH_STATUS_CONFIRMED, NINE_MS - MINUTE_MS),
    _payout(1, ADDRESS, 250_000_000, payouts_pb2.BATCH_STATUS_CONFIRMED, MIDNIGHT_MS - MINUTE_MS),
]
CREDITS = [
    rewards_pb2.Credit(
        height=block.height,
        block_hash_hex=block.block_hash_hex,
        status=block.status,
        found_time_ms=block.found_time_ms,
        amount_atomic=1_237_500_000,
        work="1",
    )
    for block in BLOCKS
]


def paged(items: list, make: Callable[..., object], **more: object) -> Callable[[object], object]:
    """Answer pages of a list as the services do: a token is the place where the next page begins."""

    def answer(request: object) -> object:
        start = int(request.page_token or 0)
        end = start + request.page_size
        chosen = [item for item in items if request.account in ("", getattr(item, "account", "") or request.account)]
        return make(chosen[start:end], next_page_token=str(end) if end < len(chosen) else "", **more)

    return answer


def _list_blocks(chosen: list, **more: object) -> rewards_pb2.ListBlocksResponse:
    return rewards_pb2.ListBlocksResponse(blocks=chosen, **more)


def _list_payouts(chosen: list, **more: object) -> payouts_pb2.ListPayoutsResponse:
    return payouts_pb2.ListPayoutsResponse(payouts=chosen, **more)


def _list_credits(chosen: list, **more: object) -> rewards_pb2.ListCreditsResponse:
    return rewards_pb2.ListCreditsResponse(credits=chosen, **more)


def _history(request: shares_pb2.GetHashrateHistoryRequest) -> shares_pb2.HashrateHistory:
    worker = request.worker if request.HasField("worker") else None
    if request.account not in ("", ADDRESS) or worker not in _PARTS:
        raise NotFound("no")
    tenths = _PARTS[worker]
    is_quarter = request.window == shares_pb2.HISTORY_WINDOW_QUARTER
    length_ms = SIX_HOURS_MS if is_quarter else STEP_MS
    first_ms = MIDNIGHT_MS - SIX_HOURS_MS if is_quarter else NINE_MS
    return shares_pb2.HashrateHistory(
        interval_s=length_ms // 1_000,
        points=[
            shares_pb2.HistoryPoint(
                time_ms=time_ms,
                work=str(WORK_PER_STEP * tenths // 10),
                hps=str(100 * tenths),
                accepted=length_ms // 10_000 * tenths,
                rejected=1,
                worker_count=2,
            )
            for time_ms in range(first_ms, NOW_MS, length_ms)
        ],
    )


def fill(world: GatewayWorld) -> None:
    """Record the answers."""
    workers = [
        shares_pb2.WorkerStats(worker=name, hashrates=_rates(100 * tenths), last_share_time_ms=NOW_MS - MINUTE_MS)
        for name, tenths in (("", 3), ("rig1", 7))
    ]
    stats = shares_pb2.AccountStats(account=ADDRESS, hashrates=_rates(1_000), workers=workers, accepted_count_1h=3_600)
    account = miners_pb2.Account(coin=COIN.coin_id, account=ADDRESS, payout_threshold_atomic=2_500_000)
    anonymous = miners_pb2.Account(coin=COIN.coin_id, account=OTHER, is_anonymous=True)
    world.services["shares"].answers = {
        "GetPoolStats": shares_pb2.PoolStats(
            hashrates=_rates(1_000), round_work=str(NETWORK_WORK // 4), account_count=1, worker_count=2
        ),
        "GetAccountStats": lambda request: stats if request.account == ADDRESS else NotFound("no"),
        "ListAccounts": lambda request: shares_pb2.ListAccountsResponse(accounts=[stats][: request.page_size]),
        "GetHashrateHistory": _history,
        "ListLeaders": lambda request: shares_pb2.ListLeadersResponse(
            leaders=[
                shares_pb2.Leader(account=ADDRESS, work="43200000", hps="500", worker_count=2),
                shares_pb2.Leader(account=OTHER, work="4320000", hps="50", worker_count=1),
            ][: request.page_size]
        ),
    }
    known = {ADDRESS: account, OTHER: anonymous}
    world.services["miners"].answers = {
        "GetAccount": lambda request: known.get(request.account, NotFound("no")),
        "BatchGetAccounts": lambda request: miners_pb2.BatchGetAccountsResponse(
            accounts=[known[name] for name in request.accounts]
        ),
    }
    counts = rewards_pb2.BlockCounts(candidate=1, immature=1, mature=1, orphaned=1)
    world.services["rewards"].answers = {
        "ListBlocks": lambda request: paged(
            [block for block in BLOCKS if request.status in (0, block.status)], _list_blocks, counts=counts
        )(request),
        "GetBalance": lambda request: (
            rewards_pb2.Balance(
                immature_atomic=4, payable_atomic=30_000_000, reserved_atomic=100_000_007, paid_atomic=250_000_000
            )
            if request.account == ADDRESS
            else rewards_pb2.Balance()
        ),
        "GetLedgerTotals": rewards_pb2.LedgerTotals(reserved_atomic=100_000_007, paid_atomic=250_000_005),
        "ListCredits": lambda request: paged(CREDITS if request.account == ADDRESS else [], _list_credits)(request),
    }
    world.services["payouts"].answers = {
        "GetStatus": payouts_pb2.PayerStatus(is_active=True, paid_atomic=250_000_005, payouts_confirmed=2),
        "ListPayouts": paged(PAYOUTS, _list_payouts),
    }
