"""Prove what is known of accounts and workers against one another."""

from runtime.audit import Finding, Report
from runtime.postgres.pool import Pool, acquired

_QUERY_TIMEOUT_S = 3600


async def audit(pool: Pool) -> Report:
    """Compare each account's times with those of its workers, and its threshold with the last change."""
    async with acquired(pool) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("SET LOCAL statement_timeout = 0")
        rows = await connection.fetch(
            """
            SELECT account.coin, account.account, account.create_time_ms, account.last_share_time_ms,
                account.payout_threshold_atomic, seen.first_ms, seen.last_ms,
                coalesce(changed.payout_threshold_atomic, 0) AS changed_atomic
            FROM miners.account
            LEFT JOIN LATERAL (
                SELECT min(create_time_ms) AS first_ms, max(last_share_time_ms) AS last_ms FROM miners.worker
                WHERE worker.account_id = account.account_id
            ) AS seen ON true
            LEFT JOIN LATERAL (
                SELECT payout_threshold_atomic FROM miners.account_update
                WHERE account_update.account_id = account.account_id ORDER BY updated_at DESC LIMIT 1
            ) AS changed ON true
            ORDER BY account.coin, account.account
            """,
            timeout=_QUERY_TIMEOUT_S,
        )
    checks = (
        ("first share of an account = of its workers", "first_ms", "create_time_ms"),
        ("last share of an account = of its workers", "last_ms", "last_share_time_ms"),
        ("threshold of an account = its last change", "changed_atomic", "payout_threshold_atomic"),
    )
    findings = [
        Finding(
            check=check, subject=f"{row['coin']} {row['account']}", expected=str(row[expected]), actual=str(row[actual])
        )
        for row in rows
        for check, expected, actual in checks
        if row[expected] != row[actual]
    ]
    return Report(compared={check: len(rows) for check, _, _ in checks}, findings=tuple(findings))
