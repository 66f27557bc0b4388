"""Answers as the OpenAPI document shows them: one miner of a Litecoin pool, whose numbers agree with one another."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import asdict

from gateway import models, models_history, models_settings, models_status

_ADDRESS = "ltc1qqyqszqgpqyqszqgpqyqszqgpqyqszqgpq4933p"
_OTHER = "ltc1qqgpqyqszqgpqyqszqgpqyqszqgpqyqszr33r56h"
_NOW = datetime(2025, 3, 1, 12, 0, 0, tzinfo=UTC)
_FOUND = _NOW - timedelta(hours=6)
_BLOCK_HASH = "5f3c0a" + "3f" * 29
_TXID = "9b" * 32
_NETWORK_WORK = "129127208515966861312"
_PAGE_TOKEN = "kgGqZXhhbXBsZQ"  # noqa: S105  # a page's position, not a secret

_HASHRATES = models.Hashrates(
    hps_1m=2_410_000_000_000,
    hps_5m=2_390_000_000_000,
    hps_15m=2_400_000_000_000,
    hps_1h=2_400_000_000_000,
    hps_24h=2_380_000_000_000,
)
_COUNTS = models.ShareCounts(accepted=815_000, stale=1_200, duplicate=3, low_difficulty=40, invalid=2)
_BLOCK_COUNTS = models.BlockCounts(candidate=0, immature=1, mature=11, orphaned=1)

_BLOCK = models.Block(
    height=2_850_000,
    block_hash=_BLOCK_HASH,
    status=models.BlockStatus.IMMATURE,
    confirmations=40,
    maturity_blocks=100,
    found_time=_FOUND,
    finder=_ADDRESS,
    worker="rig1",
    scheme="pplns",
    reward_atomic=626_000_000,
    fees_atomic=1_000_000,
    pool_fee_atomic=6_260_000,
    remainder_atomic=0,
    coinbase_txid="c4" * 32,
    network_work=_NETWORK_WORK,
    round_work="134615114878395452917",
    window_work="258254417031933722624",
    effort_percent="104.25",
    hold_reason="",
)

BLOCK_DETAIL = models.BlockDetail(
    **asdict(_BLOCK),
    credits=[
        models.BlockCredit(address=_ADDRESS, work="193690812773950291968", amount_atomic=464_805_000),
        models.BlockCredit(address=_OTHER, work="64563604257983430656", amount_atomic=154_935_000),
    ],
)
MINER_BLOCK_PAGE = models.MinerBlockPage(blocks=[_BLOCK], next_page_token=None)
BLOCK_PAGE = models.BlockPage(blocks=[_BLOCK], counts=_BLOCK_COUNTS, next_page_token=_PAGE_TOKEN)

POOL = models.Pool(
    name="Lodepool",
    coin="litecoin",
    coin_name="Litecoin",
    ticker="LTC",
    decimals=8,
    network="main",
    algorithm="scrypt",
    block_interval_s=150,
    maturity_blocks=100,
    difficulty_1_work="65537",
    scheme="pplns",
    fee_ppm=10_000,
    payout_threshold_atomic=1_000_000,
    stratum_port=3333,
    stratum=models.Stratum(
        host="stratum.lodepool.example",
        port=3333,
        is_tls=False,
        difficulty_start="1024",
        difficulty_min="0.000001",
        difficulty_max=None,
        schemes_allowed=["pplns", "prop", "solo"],
        password_options=["d=", "m="],
    ),
    explorer=models.Explorer(
        tx_url="https://litecoinspace.org/tx/{txid}",
        block_url="https://litecoinspace.org/block/{hash}",
        address_url="https://litecoinspace.org/address/{address}",
    ),
    shares=models.PoolShares(
        hashrates=_HASHRATES,
        counts=_COUNTS,
        miner_online_count=2,
        worker_online_count=5,
        best_share=models.BestShare(hash_work="152038417264812", address=_ADDRESS),
        last_share_time=_NOW,
    ),
    round=models.PoolRound(
        start_height=2_850_000,
        round_work="51840000000000000",
        network_work=_NETWORK_WORK,
        effort_percent="0.04",
    ),
    blocks=models.PoolBlocks(counts=_BLOCK_COUNTS, last=_BLOCK),
    chain=models.Network(height=2_850_000, work=_NETWORK_WORK),
    luck=models.Luck(blocks_7d=2, effort_percent_mean_7d="104.25", effort_percent_mean_100="98.70"),
    payer=models.Payer(
        is_active=True,
        is_held=False,
        reason=None,
        batches_confirmed=9,
        payouts_confirmed=17,
        paid_atomic=6_100_000_000,
        batches_in_review=0,
        accounts_isolated=0,
    ),
    degraded=[],
)

MINER_PAGE = models.MinerPage(
    miners=[
        models.MinerSummary(
            address=_ADDRESS,
            hashrates=_HASHRATES,
            counts=_COUNTS,
            total_work="53477376000000000",
            worker_count=4,
            worker_online_count=3,
            last_share_time=_NOW,
        )
    ],
    next_page_token=None,
    degraded=[],
)

MINER = models.Miner(
    address=_ADDRESS,
    coin="litecoin",
    account=models.MinerAccount(
        create_time=_NOW - timedelta(days=40),
        last_share_time=_NOW,
        worker_count=1,
        worker_online_count=1,
        payout_threshold_atomic=1_000_000,
        is_threshold_default=True,
    ),
    shares=models.MinerShares(
        hashrates=_HASHRATES, counts=_COUNTS, total_work="53477376000000000", best_hash_work="152038417264812"
    ),
    balance=models.MinerBalance(
        immature_atomic=464_805_000, payable_atomic=125_000, reserved_atomic=0, paid_atomic=4_575_000_000
    ),
    estimate=models.Estimate(atomic_per_day=986_900, basis="24h"),
    uncertainty=models.Uncertainty(hps_1h_low=2_155_000_000_000, hps_1h_high=2_665_000_000_000, share_count_1h=358),
    workers=[
        models.Worker(
            worker="rig1",
            presence=models.Presence.ONLINE,
            scheme="pplns",
            user_agent="cgminer/4.12.1",
            create_time=_NOW - timedelta(days=40),
            last_share_time=_NOW,
            hashrates=_HASHRATES,
            counts=_COUNTS,
            best_hash_work="152038417264812",
            last_reject=models.Reject(reason="stale", time=_NOW - timedelta(minutes=30)),
        )
    ],
    has_more_workers=False,
    degraded=[],
)

CREDIT_PAGE = models.CreditPage(
    credits=[
        models.Credit(
            height=2_850_000,
            block_hash=_BLOCK_HASH,
            status=models.BlockStatus.IMMATURE,
            found_time=_FOUND,
            work="193690812773950291968",
            amount_atomic=464_805_000,
        )
    ],
    next_page_token=None,
)

PAYOUT_PAGE = models.PayoutPage(
    payouts=[
        models.Payout(
            payout_id="0195509f-1f5e-7c3a-8f6e-3d1c2b0a4f11",
            batch_id="0195509f-1f5e-7c3a-8f6e-3d1c2b0a4f10",
            address=_ADDRESS,
            amount_atomic=457_500_000,
            status=models.PayoutStatus.CONFIRMED,
            txid=_TXID,
            create_time=_NOW - timedelta(days=1),
            confirm_time=_NOW - timedelta(hours=23),
        )
    ],
    next_page_token=None,
)

LEDGER = models.Ledger(
    coin="litecoin",
    coinbase_atomic=7_512_000_000,
    immature_atomic=619_740_000,
    payable_atomic=717_140_000,
    reserved_atomic=0,
    paid_atomic=6_100_000_000,
    pool_fee_atomic=75_120_000,
    remainder_atomic=0,
    network_fee_atomic=40_000,
)

POOL_HISTORY = models_history.PoolHistory(
    window=models_history.Window.DAY,
    interval_s=600,
    points=[
        models_history.PoolPoint(
            time=_NOW - timedelta(minutes=10), hps=2_400_000_000_000, accepted=60, rejected=1, worker_count=5
        ),
        models_history.PoolPoint(time=_NOW, hps=2_390_000_000_000, accepted=12, rejected=0, worker_count=None),
    ],
    blocks=[models_history.FoundBlock(time=_FOUND, height=2_850_000, effort_percent="104.25")],
    degraded=[],
)

MINER_HISTORY = models_history.MinerHistory(
    window=models_history.Window.DAY,
    interval_s=600,
    points=[
        models_history.MinerPoint(
            time=_NOW - timedelta(minutes=10),
            hps=2_400_000_000_000,
            accepted=60,
            rejected=1,
            work="1440000000000000",
        )
    ],
)

LEADERBOARD = models_history.Leaderboard(
    window=models_history.Window.DAY,
    leaders=[
        models_history.Leader(
            rank=1, address=_ADDRESS, hps=2_380_000_000_000, work="205632000000000000", worker_count=4
        ),
        models_history.Leader(rank=2, address=None, hps=1_000_000_000, work="86400000000000", worker_count=1),
    ],
)

STATUS = models_status.Status(
    services=[
        models_status.ServiceStatus(name="shares", is_up=True, since=_NOW - timedelta(days=3), detail=None),
        models_status.ServiceStatus(name="payouts", is_up=False, since=_NOW, detail="It does not answer."),
    ],
    nodes=[models_status.NodeStatus(name="node-a", is_up=True, height=2_850_040)],
    stratum=[models_status.StratumStatus(instance="0-6f3a-1", session_count=412, refusing_reason=None)],
    version="0.1.0",
)

SETTINGS = models_settings.Settings(
    payout_threshold_atomic=5_000_000,
    is_threshold_default=False,
    scheme=None,
    is_anonymous=True,
    revision=4,
    can_choose_scheme=False,
    proof_kinds=["signature"],
)

SETTINGS_CHANGE = models_settings.SettingsChange(
    payout_threshold_atomic=5_000_000,
    time="2025-03-01T12:00:00Z",
    revision=3,
    proof=models_settings.Proof(
        kind="signature",
        signature="IFqUo4/sxBEFkfK8mZeeN56V13BqOc0D90oPBChF3gTqMXtNSCTN79UxC33kZ8Mi0cHy4zYCnQfCxTyLpMVXKeA=",
    ),
)
