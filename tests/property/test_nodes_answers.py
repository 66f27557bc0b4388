"""Whatever a node answers, the client returns what it promises or raises NodeError."""

import asyncio
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from coins import registry
from nodes.bitcoin import BitcoinRpc
from nodes.errors import NodeError, PoolAddressMismatch
from nodes.follower import verify_address
from nodes.settings import NodeSettings
from nodes.simulated_tx import Draft, DraftOutput

COIN = registry.get("litecoin-regtest")
SCRIPT = b"\x00\x14" + b"\x01" * 20
RAW = Draft(inputs=((b"\1" * 32, 0),), outputs=(DraftOutput(script=SCRIPT, amount_atomic=5),)).serialise(is_signed=True)
ADDRESS = "rltc1qsw5a8mh22ccdpuwkpz70a4ayjyadnrazgjh40k"

FIELDS = [
    "chain",
    "blocks",
    "bestblockhash",
    "initialblockdownload",
    "hash",
    "height",
    "confirmations",
    "time",
    "bits",
    "tx",
    "isvalid",
    "scriptPubKey",
    "ismine",
    "hex",
    "fee",
    "complete",
    "txid",
    "blockhash",
    "vout",
    "amount",
    "spendable",
    "feerate",
    "type",
    "address",
    "rules",
    "previousblockhash",
    "version",
    "curtime",
    "transactions",
    "coinbasevalue",
    "target",
    "longpollid",
    "default_witness_commitment",
    "mweb",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-1, 2**64)
    | st.decimals(allow_nan=False, allow_infinity=False).map(Decimal)
    | st.sampled_from(["", "zz", "00", "207fffff", "ff" * 32, "00" * 32, RAW.hex(), "regtest", "pubhashblock", ADDRESS])
    | st.text(max_size=8)
)
ANSWERS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=12),
    max_leaves=25,
)

CALLS = (
    lambda node: node.chain_info(),
    lambda node: node.block_template(),
    lambda node: node.submit_block(b"\0"),
    lambda node: node.address_info(ADDRESS),
    lambda node: node.block_hash_at(1),
    lambda node: node.header("00" * 32),
    lambda node: node.block("00" * 32),
    lambda node: node.has_zmq(),
    lambda node: node.balance_atomic(),
    lambda node: node.fee_rate_sat_per_kvb(target_blocks=6),
    lambda node: node.build([(ADDRESS, 5)], fee_rate_sat_per_kvb=1000),
    lambda node: node.broadcast(RAW),
    lambda node: node.transaction("00" * 32),
    lambda node: node.release(RAW),
    lambda node: verify_address(node, COIN, ADDRESS),
)


class Scripted:
    """Answer each call with the next of some values, and the last one for ever."""

    def __init__(self, answers):
        self._answers = list(answers)

    async def call(self, *_, **__):
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    async def close(self):
        pass


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(CALLS), st.lists(ANSWERS, min_size=1, max_size=4))
def test_any_answer_is_understood_or_raises_a_node_error(call, answers):
    async def ask():
        node = BitcoinRpc(NodeSettings(name="odd", wallet="pool"), COIN)
        node._rpc = Scripted(answers)
        try:
            await call(node)
        except (NodeError, PoolAddressMismatch):
            return

    asyncio.run(ask())


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(FIELDS), SCALARS | st.lists(SCALARS, max_size=2), min_size=8),
    st.sampled_from(CALLS),
)
def test_an_object_with_some_right_fields_is_understood_or_raises_a_node_error(answer, call):
    async def ask():
        node = BitcoinRpc(NodeSettings(name="odd", wallet="pool"), COIN)
        node._rpc = Scripted([answer])
        try:
            await call(node)
        except (NodeError, PoolAddressMismatch):
            return

    asyncio.run(ask())
