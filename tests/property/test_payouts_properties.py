"""What holds for any balances and any batch."""

from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from coins import registry
from coins.bitcoin.address import decode, encode
from coins.bitcoin.transaction import parse_transaction
from coins.coin import AddressKind
from ledger.domain import Phase, changes, paid, payable
from nodes.simulated_tx import Draft, DraftOutput
from payouts.domain import FeePolicy, Item, due_accounts, fee_problem, reservations, resolutions
from payouts.transaction import compare

COIN = registry.get("litecoin-regtest")
AMOUNTS = st.integers(min_value=1, max_value=21_000_000 * 10**8)
BALANCES = st.dictionaries(st.text("abcdefgh", min_size=1, max_size=4), AMOUNTS, max_size=30)
HASHES = st.binary(min_size=20, max_size=20)


@given(balances=BALANCES, thresholds=BALANCES, default=AMOUNTS, dust=AMOUNTS)
def test_due_accounts_get_their_whole_balance_and_everyone_else_keeps_it(
    balances: dict[str, int], thresholds: dict[str, int], default: int, dust: int
) -> None:
    """P5"""
    due = due_accounts(balances.items(), thresholds=thresholds, threshold_default_atomic=default, dust_atomic=dust)
    chosen = {entry.account: entry.amount_atomic for entry in due}
    assert len(chosen) == len(due)
    for account, balance in balances.items():
        is_due = balance >= dust and balance >= thresholds.get(account, default)
        assert chosen.get(account) == (balance if is_due else None)


@given(
    amounts=st.dictionaries(st.text("abcdefgh", min_size=1), AMOUNTS, min_size=1),
    phase=st.sampled_from(["post", "void"]),
)
def test_reserving_and_resolving_moves_exactly_the_amounts_and_leaves_nothing_pending(
    amounts: dict[str, int], phase: str
) -> None:
    """P5: money is conserved."""
    batch_id = UUID(int=1)
    items = [
        Item(payout_id=UUID(int=number), account=account, amount_atomic=amount)
        for number, (account, amount) in enumerate(amounts.items(), start=2)
    ]
    transfers = [
        *reservations(batch_id, "litecoin-regtest", items),
        *resolutions(batch_id, "litecoin-regtest", items, phase=Phase(phase)),
    ]
    assert len({transfer.transfer_id for transfer in transfers}) == 2 * len(items)
    total = changes(transfers)
    for account, amount in amounts.items():
        moved = amount if phase == "post" else 0
        gave = total[payable("litecoin-regtest", account)]
        got = total[paid("litecoin-regtest", account)]
        assert (gave.debits_posted, gave.debits_pending) == (moved, 0)
        assert (got.credits_posted, got.credits_pending) == (moved, 0)


@given(fee=st.integers(1, 10**9), weight=st.integers(200, 400_000), ceiling=st.integers(1, 10**9))
def test_fee_that_passes_is_never_above_the_ceiling(fee: int, weight: int, ceiling: int) -> None:
    """P9"""
    policy = FeePolicy(rate_min_sat_per_kvb=1_000, rate_max_sat_per_kvb=2_000, fee_atomic_max=ceiling)
    if not fee_problem(fee_atomic=fee, weight=weight, policy=policy):
        assert fee <= ceiling
        assert fee * 10 >= (weight // 4) * 9 // 1000


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Item], bytes, bytes]:
    """Items, the transaction that pays them in any order with or without change, and the change's hash."""
    hashes = draw(st.lists(HASHES, min_size=2, max_size=12, unique=True))
    kinds = [draw(st.sampled_from([AddressKind.P2PKH, AddressKind.P2SH, AddressKind.P2WPKH])) for _ in hashes]
    addresses = [encode(COIN, kind, payload) for kind, payload in zip(kinds, hashes, strict=True)]
    items = [
        Item(payout_id=UUID(int=number), account=address, amount_atomic=draw(AMOUNTS))
        for number, address in enumerate(addresses[:-1], start=1)
    ]
    outputs = [
        DraftOutput(script=decode(COIN, item.account).script, amount_atomic=item.amount_atomic) for item in items
    ]
    if draw(st.booleans()):
        outputs.append(DraftOutput(script=decode(COIN, addresses[-1]).script, amount_atomic=draw(AMOUNTS)))
    draft = Draft(inputs=((bytes([7]) * 32, 0),), outputs=tuple(draw(st.permutations(outputs))))
    return items, draft.serialise(is_signed=True), hashes[-1]


@given(batch=batches())
def test_transaction_that_pays_the_items_in_any_order_has_no_difference(batch: tuple[list[Item], bytes, bytes]) -> None:
    """P5"""
    items, raw, _ = batch
    txid_hex = parse_transaction(raw).txid[::-1].hex()
    assert compare(COIN, raw=raw, txid_hex=txid_hex, items=items).differences == ()


@given(batch=batches(), data=st.data())
def test_any_changed_amount_is_named_with_its_account(
    batch: tuple[list[Item], bytes, bytes], data: st.DataObject
) -> None:
    """P5"""
    items, raw, _ = batch
    txid_hex = parse_transaction(raw).txid[::-1].hex()
    number = data.draw(st.integers(0, len(items) - 1))
    wrong = data.draw(AMOUNTS)
    assume(wrong != items[number].amount_atomic)
    changed = list(items)
    changed[number] = Item(payout_id=items[number].payout_id, account=items[number].account, amount_atomic=wrong)

    (difference,) = compare(COIN, raw=raw, txid_hex=txid_hex, items=changed).differences

    assert str(difference) == (
        f"payment to {items[number].account}: expected {wrong}, found {items[number].amount_atomic}"
    )


@given(batch=batches(), data=st.data())
def test_any_changed_byte_of_the_transaction_is_a_difference(
    batch: tuple[list[Item], bytes, bytes], data: st.DataObject
) -> None:
    """P5: but for witnesses, which the transaction id does not cover."""
    items, raw, _ = batch
    transaction = parse_transaction(raw)
    position = data.draw(st.integers(0, len(raw) - 1))
    changed = bytearray(raw)
    changed[position] ^= data.draw(st.integers(1, 255))
    found = compare(COIN, raw=bytes(changed), txid_hex=transaction.txid[::-1].hex(), items=items)
    if not found.differences:
        assert parse_transaction(bytes(changed)).outputs == transaction.outputs


@given(raw=st.binary(max_size=200), batch=batches())
def test_garbage_is_a_difference_and_never_an_exception(raw: bytes, batch: tuple[list[Item], bytes, bytes]) -> None:
    assert compare(COIN, raw=raw, txid_hex="00" * 32, items=batch[0]).differences
