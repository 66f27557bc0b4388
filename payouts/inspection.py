"""Look at what the wallet has built, before it is stored: whether it may be sent."""

from collections.abc import Sequence

from coins.bitcoin.address import from_script
from coins.coin import Coin
from nodes.interface import BitcoinWallet, SignedTransaction
from payouts.domain import Batch, Item, fee_problem
from payouts.transaction import compare


async def find_problem(
    signed: SignedTransaction,
    batch: Batch,
    items: Sequence[Item],
    *,
    coin: Coin,
    wallet: BitcoinWallet,
    weight_max: int,
) -> str:
    """Return why a built transaction must not be sent; empty when it may.

    Raises:
        NodeError: When the wallet cannot be asked whose the change is.
    """
    if signed.weight > weight_max:
        return f"one payment alone weighs {signed.weight}, more than {weight_max}"
    problem = fee_problem(fee_atomic=signed.fee_atomic, weight=signed.weight, policy=batch.fee_policy)
    if problem:
        return problem
    comparison = compare(coin, raw=signed.raw, txid_hex=signed.txid_hex, items=items)
    if comparison.differences:
        return "the wallet built something else: " + "; ".join(map(str, comparison.differences))
    if comparison.change_script is not None:
        return await _change_problem(coin, comparison.change_script, wallet)
    return ""


async def _change_problem(coin: Coin, script: bytes, wallet: BitcoinWallet) -> str:
    address = from_script(coin, script)
    if address is None:
        return f"the change goes to a script of unknown kind, {script.hex()}"
    if (await wallet.address_info(address.text)).is_mine is False:
        return f"the change goes to {address.text}, which is not the wallet's"
    return ""
