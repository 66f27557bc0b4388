"""Choose whom the next batch pays, and set apart whom nobody can pay."""

from collections.abc import Sequence
from dataclasses import dataclass

from coins.bitcoin.address import payee
from coins.coin import Coin
from coins.errors import AddressError
from ledger import storage as ledger_storage
from nodes.interface import BitcoinWallet
from payouts.config import PayoutSettings
from payouts.domain import TRANSACTION_WEIGHT_BASE, Due, due_accounts, output_weight
from payouts.thresholds import ThresholdSource
from runtime.postgres.pool import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whom a batch pays; `isolated` are (account, reason) of those met on the way that cannot be paid."""

    due: tuple[Due, ...]
    isolated: tuple[tuple[str, str], ...]


async def choose(
    conn: Connection,
    *,
    coin: Coin,
    settings: PayoutSettings,
    outputs_max: int,
    thresholds: ThresholdSource,
    wallet: BitcoinWallet,
) -> Choice:
    """Return whom to pay next, within the limits of outputs and weight (P7).

    Raises:
        Waiting: When the thresholds cannot be had.
        NodeError: When the wallet cannot be asked about addresses.
    """
    payable = await ledger_storage.payable_accounts(conn, coin.coin_id, settings.dust_atomic)
    if not payable:
        return Choice(due=(), isolated=())
    known = await thresholds.thresholds(coin.coin_id, [account for account, _ in payable])
    due = due_accounts(
        payable,
        thresholds=known,
        threshold_default_atomic=settings.threshold_atomic,
        dust_atomic=settings.dust_atomic,
    )
    return await _within_limits(coin, due, outputs_max=outputs_max, weight_max=settings.weight_max, wallet=wallet)


async def _within_limits(
    coin: Coin, due: Sequence[Due], *, outputs_max: int, weight_max: int, wallet: BitcoinWallet
) -> Choice:
    chosen: list[Due] = []
    isolated: list[tuple[str, str]] = []
    scripts: set[bytes] = set()
    weight = TRANSACTION_WEIGHT_BASE
    for entry in due:
        if len(chosen) >= outputs_max:
            break
        script, problem = await _script(coin, entry.account, wallet)
        if problem:
            isolated.append((entry.account, problem))
            continue
        if script in scripts:
            continue
        weight += output_weight(script)
        if chosen and weight > weight_max:
            break
        scripts.add(script)
        chosen.append(entry)
    return Choice(due=tuple(chosen), isolated=tuple(isolated))


async def _script(coin: Coin, account: str, wallet: BitcoinWallet) -> tuple[bytes, str]:
    """Return an address's script and what is wrong with the address; both we and the node must agree (P6)."""
    try:
        script = payee(coin, account).script
    except AddressError as error:
        return b"", f"not an address of {coin.coin_id}: {error}"
    answer = await wallet.address_info(account)
    if not answer.is_valid:
        return b"", "the node calls the address invalid"
    if answer.script != script:
        return b"", f"the node's script for it is {answer.script.hex()}, ours is {script.hex()}"
    return script, ""
