"""Compare a signed transaction with the payments it is to make; pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from coins.bitcoin.address import decode
from coins.bitcoin.transaction import Transaction, parse_transaction
from coins.coin import Coin
from coins.errors import CoinError
from payouts.domain import Item

CHANGE_OUTPUTS_MAX = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One way in which a transaction is not what it should be; amounts in atomic units, scripts in hex."""

    subject: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.subject}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a comparison found; `change_script` is the script of the change, None without change."""

    differences: tuple[Difference, ...]
    change_script: bytes | None = None


def compare(coin: Coin, *, raw: bytes, txid_hex: str, items: Sequence[Item]) -> Comparison:
    """Compare a transaction with a batch: its id, and for each item one output of exactly its script and amount (P5).

    Beyond the items there may be one output, the change.
    """
    try:
        transaction = parse_transaction(raw)
    except CoinError as error:
        return Comparison(
            differences=(Difference(subject="bytes", expected="a transaction", actual=f"none ({error})"),)
        )
    differences: list[Difference] = []
    found_txid_hex = transaction.txid[::-1].hex()
    if found_txid_hex != txid_hex:
        differences.append(Difference(subject="transaction id", expected=txid_hex, actual=found_txid_hex))
    found, left = _match(coin, transaction, items)
    differences.extend(found)
    if left.total() > CHANGE_OUTPUTS_MAX:
        outputs = ", ".join(f"{amount} to {script.hex()}" for script, amount in sorted(left.elements()))
        expected = f"at most {CHANGE_OUTPUTS_MAX}, the change"
        differences.append(Difference(subject="outputs beyond the payments", expected=expected, actual=outputs))
    change = next(left.elements(), None)
    return Comparison(differences=tuple(differences), change_script=None if change is None else change[0])


def _match(
    coin: Coin, transaction: Transaction, items: Sequence[Item]
) -> tuple[list[Difference], Counter[tuple[bytes, int]]]:
    """Return what is wrong with the items' outputs, and the outputs that belong to no item."""
    left = Counter((output.script, output.amount_atomic) for output in transaction.outputs)
    missing: list[tuple[Item, bytes]] = []
    differences: list[Difference] = []
    for item in items:
        try:
            script = decode(coin, item.account).script
        except CoinError as error:
            differences.append(
                Difference(subject=f"account {item.account}", expected="an address", actual=f"none ({error})")
            )
            continue
        if left[script, item.amount_atomic] > 0:
            left[script, item.amount_atomic] -= 1
        else:
            missing.append((item, script))
    for item, script in missing:
        amounts = [amount for other, amount in left.elements() if other == script]
        if amounts:
            left[script, amounts[0]] -= 1
        differences.append(
            Difference(
                subject=f"payment to {item.account}",
                expected=str(item.amount_atomic),
                actual=str(amounts[0]) if amounts else "no output",
            )
        )
    return differences, left
