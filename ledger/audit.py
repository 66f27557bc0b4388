"""Compare the ledger with itself: balances against transfers, sums against their other side."""

from ledger import storage
from runtime.audit import Finding, Report
from runtime.postgres.pool import Connection, Pool, acquired

COUNTERS_CHECK = "account counters = sums of the transfers"
SIDES_CHECK = "debits = credits"
IDENTITY_CHECK = "coinbase = immature + payable + reserved + paid + pool fee + remainder"
OVERDRAWN_CHECK = "no account gives more than it has"
RULES_CHECK = "transfers keep the ledger's rules"
FINDINGS_MAX = 1000
"""Of one check; beyond that the number alone is told."""

_COLUMNS = ("debits_posted", "credits_posted", "debits_pending", "credits_pending")

_COUNTERS_DIFFERENT = """
    WITH side AS (
        SELECT debit_account_id AS account_id, amount_atomic, phase, true AS is_debit FROM ledger.transfer
        WHERE coin = $1
        UNION ALL
        SELECT credit_account_id, amount_atomic, phase, false FROM ledger.transfer WHERE coin = $1
    ), expected AS (
        SELECT account_id,
            coalesce(sum(amount_atomic) FILTER (WHERE is_debit AND phase IN ('posted', 'post')), 0) AS debits_posted,
            coalesce(sum(amount_atomic) FILTER (WHERE NOT is_debit AND phase IN ('posted', 'post')), 0)
                AS credits_posted,
            coalesce(sum(CASE phase WHEN 'pending' THEN amount_atomic ELSE -amount_atomic END)
                FILTER (WHERE is_debit AND phase <> 'posted'), 0) AS debits_pending,
            coalesce(sum(CASE phase WHEN 'pending' THEN amount_atomic ELSE -amount_atomic END)
                FILTER (WHERE NOT is_debit AND phase <> 'posted'), 0) AS credits_pending
        FROM side GROUP BY account_id
    ), actual AS (
        SELECT * FROM ledger.account WHERE coin = $1
    ), compared AS (
        SELECT account_id, coalesce(a.owner || ' ' || a.bucket, 'account ' || account_id || ' (missing)') AS subject,
            coalesce(e.debits_posted, 0) AS expected_debits_posted, coalesce(a.debits_posted, 0) AS debits_posted,
            coalesce(e.credits_posted, 0) AS expected_credits_posted, coalesce(a.credits_posted, 0) AS credits_posted,
            coalesce(e.debits_pending, 0) AS expected_debits_pending, coalesce(a.debits_pending, 0) AS debits_pending,
            coalesce(e.credits_pending, 0) AS expected_credits_pending,
            coalesce(a.credits_pending, 0) AS credits_pending
        FROM expected e FULL JOIN actual a USING (account_id)
    )
    SELECT * FROM compared
    WHERE (expected_debits_posted, expected_credits_posted, expected_debits_pending, expected_credits_pending)
        <> (debits_posted, credits_posted, debits_pending, credits_pending)
    ORDER BY subject
"""

_RULES_BROKEN = """
    SELECT t.transfer_id, t.code, t.phase, t.amount_atomic, d.owner || ' ' || d.bucket AS debit,
        c.owner || ' ' || c.bucket AS credit, named.amount_atomic AS named_amount,
        CASE
            WHEN d.account_id IS NULL OR c.account_id IS NULL THEN 'accounts that exist'
            WHEN d.coin <> t.coin OR c.coin <> t.coin THEN 'accounts of its coin'
            WHEN t.amount_atomic <= 0 THEN 'an amount above zero'
            WHEN NOT ledger.moves_as_coded(t.code, d.owner, d.bucket, c.owner, c.bucket)
                THEN 'accounts that fit its code'
            WHEN (t.code = 'payout') <> (t.phase <> 'posted') THEN 'a phase that fits its code'
            WHEN (t.phase IN ('post', 'void')) <> (t.pending_id IS NOT NULL) THEN 'a phase that fits pending_id'
            WHEN (t.code = 'reversal') <> (t.reverses_id IS NOT NULL) THEN 'a code that fits reverses_id'
            WHEN t.pending_id IS NOT NULL AND named.amount_atomic IS DISTINCT FROM t.amount_atomic
                THEN 'the amount of the reservation ' || t.pending_id || ', '
                    || coalesce(named.amount_atomic::text, 'none')
            WHEN t.pending_id IS NOT NULL AND (named.phase <> 'pending'
                OR (named.debit_account_id, named.credit_account_id) <> (t.debit_account_id, t.credit_account_id))
                THEN 'the accounts of the reservation ' || t.pending_id
            WHEN t.reverses_id IS NOT NULL AND named.amount_atomic IS DISTINCT FROM t.amount_atomic
                THEN 'the amount of the transfer it reverses ' || t.reverses_id || ', '
                    || coalesce(named.amount_atomic::text, 'none')
            WHEN t.reverses_id IS NOT NULL AND (named.phase <> 'posted'
                OR (named.debit_account_id, named.credit_account_id) <> (t.credit_account_id, t.debit_account_id))
                THEN 'the accounts of the transfer it reverses ' || t.reverses_id
        END AS expected
    FROM ledger.transfer t
    LEFT JOIN ledger.account d ON d.account_id = t.debit_account_id
    LEFT JOIN ledger.account c ON c.account_id = t.credit_account_id
    LEFT JOIN ledger.transfer named ON named.transfer_id = coalesce(t.pending_id, t.reverses_id)
    WHERE t.coin = $1
"""

_RESOLVED_TWICE = """
    SELECT coalesce(pending_id, reverses_id) AS named_id, count(*) AS times
    FROM ledger.transfer WHERE coin = $1 AND coalesce(pending_id, reverses_id) IS NOT NULL
    GROUP BY coalesce(pending_id, reverses_id) HAVING count(*) > 1
"""


async def audit(pool: Pool, *, coin_id: str) -> Report:
    """Audit one coin's ledger on one snapshot of the database; every difference is named."""
    async with (
        acquired(pool) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        await conn.execute("SET LOCAL statement_timeout = '10min'")
        account_count: int = await conn.fetchval("SELECT count(*) FROM ledger.account WHERE coin = $1", coin_id)
        transfer_count: int = await conn.fetchval("SELECT count(*) FROM ledger.transfer WHERE coin = $1", coin_id)
        findings = [
            *await _counters(conn, coin_id),
            *await _sides(conn, coin_id),
            *await _identity(conn, coin_id),
            *await _overdrawn(conn, coin_id),
            *await _rules(conn, coin_id),
        ]
    return Report(
        compared={
            COUNTERS_CHECK: account_count * len(_COLUMNS),
            SIDES_CHECK: 2,
            IDENTITY_CHECK: 1,
            OVERDRAWN_CHECK: account_count,
            RULES_CHECK: transfer_count,
        },
        findings=tuple(findings),
    )


async def _counters(conn: Connection, coin_id: str) -> list[Finding]:
    rows = await conn.fetch(_COUNTERS_DIFFERENT + f" LIMIT {FINDINGS_MAX}", coin_id, timeout=600)
    return [
        Finding(
            check=COUNTERS_CHECK,
            subject=f"{coin_id} {row['subject']} {column}",
            expected=str(row[f"expected_{column}"]),
            actual=str(row[column]),
        )
        for row in rows
        for column in _COLUMNS
        if row[f"expected_{column}"] != row[column]
    ]


async def _sides(conn: Connection, coin_id: str) -> list[Finding]:
    rows = await conn.fetch(
        """
        SELECT coalesce(sum(debits_posted), 0) AS debits_posted, coalesce(sum(credits_posted), 0) AS credits_posted,
            coalesce(sum(debits_pending), 0) AS debits_pending, coalesce(sum(credits_pending), 0) AS credits_pending
        FROM ledger.account WHERE coin = $1
        """,
        coin_id,
    )
    return [
        Finding(
            check=SIDES_CHECK,
            subject=f"{coin_id} all accounts, {phase}",
            expected=str(rows[0][f"debits_{phase}"]),
            actual=str(rows[0][f"credits_{phase}"]),
        )
        for phase in ("posted", "pending")
        if rows[0][f"debits_{phase}"] != rows[0][f"credits_{phase}"]
    ]


async def _identity(conn: Connection, coin_id: str) -> list[Finding]:
    totals = await storage.totals(conn, coin_id)
    if totals.coinbase_atomic == totals.owned_atomic:
        return []
    return [
        Finding(
            check=IDENTITY_CHECK,
            subject=f"{coin_id} ledger",
            expected=str(totals.coinbase_atomic),
            actual=str(totals.owned_atomic),
        )
    ]


async def _overdrawn(conn: Connection, coin_id: str) -> list[Finding]:
    rows = await conn.fetch(
        f"""
        SELECT owner, bucket, credits_posted - debits_posted - debits_pending AS available
        FROM ledger.account
        WHERE coin = $1 AND NOT may_overdraw AND credits_posted - debits_posted - debits_pending < 0
        ORDER BY account_id LIMIT {FINDINGS_MAX}
        """,
        coin_id,
    )
    return [
        Finding(
            check=OVERDRAWN_CHECK,
            subject=f"{coin_id} {row['owner']} {row['bucket']} available",
            expected="at least 0",
            actual=str(row["available"]),
        )
        for row in rows
    ]


async def _rules(conn: Connection, coin_id: str) -> list[Finding]:
    broken = await conn.fetch(
        f"SELECT * FROM ({_RULES_BROKEN}) AS judged WHERE expected IS NOT NULL LIMIT {FINDINGS_MAX}",
        coin_id,
        timeout=600,
    )
    findings = [
        Finding(
            check=RULES_CHECK,
            subject=f"transfer {row['transfer_id']}",
            expected=row["expected"],
            actual=f"{row['code']} {row['phase']} of {row['amount_atomic']} from {row['debit']} to {row['credit']}",
        )
        for row in broken
    ]
    twice = await conn.fetch(f"{_RESOLVED_TWICE} LIMIT {FINDINGS_MAX}", coin_id, timeout=600)
    findings.extend(
        Finding(
            check=RULES_CHECK,
            subject=f"transfer {row['named_id']}",
            expected="one resolution or reversal",
            actual=str(row["times"]),
        )
        for row in twice
    )
    return findings
