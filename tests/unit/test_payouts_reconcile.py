"""What the wallet's sends mean for the books, and what the operator reads of them."""

import pytest

from cli.payouts import print_unknown_sends
from coins import registry
from coins.bitcoin.address import decode, encode
from coins.coin import AddressKind
from nodes.simulated_tx import Draft, DraftOutput
from payouts.reconcile import Scripts, alarm, paid_by
from payouts.sends import UnknownSend
from proto.lodepool.payouts.v1 import payouts_pb2

COIN = registry.get("litecoin-regtest")
TXID = "ab" * 32


def address(number: int, kind: AddressKind = AddressKind.P2WPKH) -> str:
    return encode(COIN, kind, bytes([number]) * 20)


def transaction(*outputs: tuple[str, int]) -> bytes:
    drafted = tuple(
        DraftOutput(script=decode(COIN, account).script, amount_atomic=amount) for account, amount in outputs
    )
    return Draft(inputs=((b"\1" * 32, 0),), outputs=drafted).serialise(is_signed=True)


def test_only_outputs_to_accounts_of_the_ledger_count_and_the_pools_own_owners_are_no_accounts() -> None:
    """P2"""
    owners = Scripts(COIN).by_script([address(1), address(2, AddressKind.P2SH), "pool:fee", "chain:coinbase"])
    raw = transaction((address(1), 5), (address(2, AddressKind.P2SH), 7), (address(3), 11), (address(1), 13))

    assert len(owners) == 2
    assert paid_by(raw, owners) == {address(1): 18, address(2, AddressKind.P2SH): 7}
    assert paid_by(transaction((address(3), 11)), owners) == {}


@pytest.mark.parametrize("raw", [b"", b"\0", transaction((address(1), 5))[:-1]])
def test_bytes_that_are_no_transaction_pay_nobody(raw: bytes) -> None:
    assert paid_by(raw, Scripts(COIN).by_script([address(1)])) == {}


@pytest.mark.parametrize(("count", "word"), [(1, "1 account,"), (3, "3 accounts,")])
def test_alarm_names_the_transaction_and_both_ways_out(count: int, word: str) -> None:
    send = UnknownSend(
        txid_hex=TXID, raw=b"r", fee_atomic=1, account_count=count, amount_atomic=150_000_000, create_time_ms=1
    )

    said = alarm(COIN, send)

    assert f"the wallet has sent {TXID}, 1.50000000 rLTC to {word.rstrip(',')}, that the books do not know" in said
    assert f"lodepool payouts adopt {TXID}" in said
    assert f"lodepool payouts ignore {TXID} --reason" in said


def test_payouts_command_shows_what_waits_and_nothing_when_nothing_does(capsys: pytest.CaptureFixture[str]) -> None:
    print_unknown_sends(COIN, payouts_pb2.PayerStatus())
    assert capsys.readouterr().out == ""

    unknown = payouts_pb2.UnknownSend(txid_hex=TXID, amount_atomic=150_000_000, account_count=2, create_time_ms=1_000)
    print_unknown_sends(COIN, payouts_pb2.PayerStatus(unknown_sends=[unknown]))

    said = capsys.readouterr().out
    assert "unknown to the books" in said
    assert "lodepool payouts adopt TXID" in said
