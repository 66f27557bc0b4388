"""Change the settings of an account for its owner: each change once, with an audit row."""

from dataclasses import dataclass

from miners.errors import RequestConflict, RevisionConflict
from runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChange:
    """What an owner wants.

    Attributes:
        coin: Coin id.
        account: The payout address.
        revision: The revision of the settings it was made from.
        payout_threshold_atomic: None leaves it; 0 is the pool's default.
        is_anonymous: None leaves it.
        signature: What proves the owner; kept for the audit.
        request_id: Makes a retry harmless.
    """

    coin: str
    account: str
    revision: int
    payout_threshold_atomic: int | None
    is_anonymous: bool | None
    signature: str
    request_id: str


async def change_settings(connection: Connection, change: SettingsChange) -> bool:
    """Make a change; return whether the account is known. The same request again changes nothing.

    Args:
        connection: Inside a transaction.
        change: What is wanted.

    Raises:
        RequestConflict: When the request id was used for another change.
        RevisionConflict: When the settings have changed since.
    """
    row = await connection.fetchrow(
        "SELECT account_id, revision FROM miners.account WHERE coin = $1 AND account = $2 FOR UPDATE",
        change.coin,
        change.account,
    )
    if row is None:
        return False
    wanted = (row["account_id"], change.revision, change.payout_threshold_atomic, change.is_anonymous)
    known = await connection.fetchrow(
        """
        SELECT account_id, revision, payout_threshold_atomic, is_anonymous
        FROM miners.settings_change WHERE request_id = $1
        """,
        change.request_id,
    )
    if known is not None:
        if tuple(known) != wanted:
            raise RequestConflict(change.request_id)
        return True
    if row["revision"] != change.revision:
        raise RevisionConflict(row["revision"])
    await connection.execute(
        """
        INSERT INTO miners.settings_change (
            request_id, signature, account_id, revision, payout_threshold_atomic, is_anonymous
        ) VALUES ($1, $2, $3, $4, $5, $6)
        """,
        change.request_id,
        change.signature,
        *wanted,
    )
    await connection.execute(
        """
        UPDATE miners.account SET payout_threshold_atomic = coalesce($2, payout_threshold_atomic),
            is_anonymous = coalesce($3, is_anonymous), revision = revision + 1
        WHERE account_id = $1
        """,
        row["account_id"],
        change.payout_threshold_atomic,
        change.is_anonymous,
    )
    return True
