"""Speak to one real node of the Bitcoin family and its wallet."""

from collections.abc import Sequence
from typing import Final, TypeVar
from urllib.parse import urlsplit

import msgspec

from coins.bitcoin.address import decode
from coins.bitcoin.block import Transaction, parse_transaction
from coins.bitcoin.template import Template, parse_template
from coins.coin import Coin
from coins.errors import CoinError
from coins.work import target_from_nbits
from nodes.amounts import atomic_from_coins, coins_from_atomic
from nodes.errors import (
    RPC_DESERIALIZATION_ERROR,
    RPC_INVALID_ADDRESS_OR_KEY,
    RPC_INVALID_PARAMETER,
    RPC_METHOD_NOT_FOUND,
    RPC_VERIFY_ALREADY_IN_CHAIN,
    RPC_VERIFY_ERROR,
    RPC_VERIFY_REJECTED,
    RPC_WALLET_INSUFFICIENT_FUNDS,
    InsufficientFunds,
    NodeAnswerInvalid,
    NodeBusy,
    NodeError,
    NodeRpcError,
)
from nodes.interface import (
    SENDS_DEPTH_BLOCKS,
    AddressInfo,
    BlockInfo,
    BroadcastOutcome,
    BroadcastStatus,
    ChainInfo,
    HeaderInfo,
    SignedTransaction,
    SubmitOutcome,
    SubmitStatus,
    WalletSends,
    WalletTransaction,
)
from nodes.jsonrpc import JsonRpc
from nodes.settings import NodeSettings
from nodes.zmq_blocks import BlockSubscriber, reachable_endpoint

LONGPOLL_TIMEOUT_S: Final = 3600.0
"""A node keeps one RPC thread per long poll until the next block, even when the caller has gone, so asking anew
often would use them up. TCP keepalive notices a dead node much earlier."""
UNSPENT_MAX: Final = 100_000

T = TypeVar("T")


class _Chain(msgspec.Struct, frozen=True):
    chain: str
    blocks: int
    bestblockhash: str
    initialblockdownload: bool = False


class _Header(msgspec.Struct, frozen=True):
    hash: str
    height: int
    confirmations: int
    time: int


class _Block(msgspec.Struct, frozen=True):
    hash: str
    height: int
    confirmations: int
    bits: str
    tx: tuple[str, ...]


class _Validated(msgspec.Struct, frozen=True):
    isvalid: bool
    scriptPubKey: str = ""  # noqa: N815  # the node's name


class _AddressOfWallet(msgspec.Struct, frozen=True):
    ismine: bool


class _Funded(msgspec.Struct, frozen=True):
    hex: str
    fee: object


class _Signed(msgspec.Struct, frozen=True):
    hex: str
    complete: bool


class _OfWallet(msgspec.Struct, frozen=True):
    txid: str
    confirmations: int
    hex: str
    fee: object = 0
    blockhash: str | None = None


class _Entry(msgspec.Struct, frozen=True):
    category: str
    txid: str
    time: int


class _Since(msgspec.Struct, frozen=True):
    transactions: list[_Entry]
    lastblock: str


class _Outpoint(msgspec.Struct, frozen=True):
    txid: str
    vout: int


class _Unspent(msgspec.Struct, frozen=True):
    amount: object
    spendable: bool = True


class _Estimate(msgspec.Struct, frozen=True):
    feerate: object = None


class _Notification(msgspec.Struct, frozen=True):
    type: str
    address: str


class BitcoinRpc:
    """One node of the Bitcoin family over JSON-RPC; a BitcoinNode and a BitcoinWallet.

    Args:
        settings: Where it is and how to log in.
        coin: The coin it is expected to serve; its network is not checked here but by the group.
    """

    def __init__(self, settings: NodeSettings, coin: Coin) -> None:
        self._settings = settings
        self._coin = coin
        self._name = settings.name or urlsplit(settings.url).netloc or settings.url
        self._rpc = JsonRpc(settings, name=self._name)
        self._subscriber: BlockSubscriber | None = None
        self._zmq_endpoint = ""

    @property
    def name(self) -> str:
        """Return what logs and health call the node."""
        return self._name

    async def close(self) -> None:
        """Close the connections to the node."""
        if self._subscriber is not None:
            self._subscriber.close()
            self._subscriber = None
        await self._rpc.close()

    # --- the node ---

    async def chain_info(self) -> ChainInfo:
        """Return the node's network and tip."""
        chain = self._typed("getblockchaininfo", await self._rpc.call("getblockchaininfo"), _Chain)
        return ChainInfo(
            chain=chain.chain,
            height=chain.blocks,
            tip_hash_hex=chain.bestblockhash,
            is_initial_download=chain.initialblockdownload,
        )

    async def block_template(self, *, longpollid: str | None = None, timeout_s: float | None = None) -> Template:
        """Return work on the node's tip; with a `longpollid` as soon as that one is out of date."""
        method = "getblocktemplate"
        request: dict[str, object] = {"rules": list(self._coin.template_rules), "capabilities": ["longpoll"]}
        if longpollid is None:
            answer = await self._rpc.call(method, [request], timeout_s=timeout_s)
        else:
            request["longpollid"] = longpollid
            answer = await self._rpc.call(
                method, [request], timeout_s=LONGPOLL_TIMEOUT_S if timeout_s is None else timeout_s, is_patient=True
            )
        fields = self._typed(method, answer, dict[str, object])
        try:
            return parse_template(self._coin, fields)
        except CoinError as error:
            raise self._invalid(method, expected="a block template", got=str(error)) from error

    async def submit_block(self, block: bytes) -> SubmitOutcome:
        """Hand a serialised block to the node."""
        try:
            answer = await self._rpc.call("submitblock", [block.hex()])
        except NodeRpcError as error:
            if error.code == RPC_DESERIALIZATION_ERROR:
                return SubmitOutcome(status=SubmitStatus.REJECTED, reason=error.message)
            raise
        if answer is None or isinstance(answer, str):
            return SubmitOutcome.from_answer(answer or "")
        raise self._invalid("submitblock", expected="null or a reason", got=type(answer).__name__)

    async def address_info(self, address: str) -> AddressInfo:
        """Return what the node makes of an address, and whether it is the wallet's where there is one."""
        validated = self._typed("validateaddress", await self._rpc.call("validateaddress", [address]), _Validated)
        if not validated.isvalid:
            return AddressInfo(is_valid=False, script=b"", is_mine=None)
        script = self._bytes("validateaddress", validated.scriptPubKey)
        return AddressInfo(is_valid=True, script=script, is_mine=await self._is_mine(address))

    async def block_hash_at(self, height: int) -> str | None:
        """Return the active chain's block at a height; None above the tip."""
        try:
            answer = await self._rpc.call("getblockhash", [height])
        except NodeRpcError as error:
            if error.code == RPC_INVALID_PARAMETER:
                return None
            raise
        return self._typed("getblockhash", answer, str)

    async def header(self, block_hash_hex: str) -> HeaderInfo | None:
        """Return a block's header; None when the node has never seen it."""
        answer = await self._known("getblockheader", [block_hash_hex])
        if answer is None:
            return None
        header = self._typed("getblockheader", answer, _Header)
        return HeaderInfo(
            block_hash_hex=header.hash,
            height=header.height,
            confirmations=header.confirmations,
            time_s=header.time,
        )

    async def block(self, block_hash_hex: str) -> BlockInfo | None:
        """Return a block and its coinbase; None when the node has never seen it."""
        answer = await self._known("getblock", [block_hash_hex, 1])
        if answer is None:
            return None
        block = self._typed("getblock", answer, _Block)
        if not block.tx:
            raise self._invalid("getblock", expected="a coinbase", got="no transaction")
        method = "getrawtransaction"
        raw = self._typed(method, await self._rpc.call(method, [block.tx[0], False, block_hash_hex]), str)
        coinbase = self._parsed(method, self._bytes(method, raw))
        return BlockInfo(
            block_hash_hex=block.hash,
            height=block.height,
            confirmations=block.confirmations,
            coinbase_txid_hex=block.tx[0],
            coinbase_outputs=tuple((output.script, output.amount_atomic) for output in coinbase.outputs),
            network_target=self._target("getblock", block.bits),
        )

    async def has_zmq(self) -> bool:
        """Return whether the node really publishes block hashes: an option set on a build without ZMQ does nothing."""
        try:
            answer = await self._rpc.call("getzmqnotifications")
        except NodeRpcError as error:
            if error.code == RPC_METHOD_NOT_FOUND:
                return False
            raise
        notifications = self._typed("getzmqnotifications", answer, list[_Notification])
        published = [entry.address for entry in notifications if entry.type == "pubhashblock"]
        if not published:
            return False
        self._zmq_endpoint = self._settings.zmq_hashblock or reachable_endpoint(
            published[0], node_url=self._settings.url
        )
        return True

    async def wait_for_zmq_block(self, *, timeout_s: float) -> bool:
        """Wait for the next block hash over ZMQ; False when none came in time. Only where `has_zmq()`."""
        if self._subscriber is None:
            self._subscriber = BlockSubscriber(self._zmq_endpoint)
        return await self._subscriber.wait(timeout_s=timeout_s)

    # --- the wallet ---

    async def balance_atomic(self) -> int:
        """Return what can be spent now: confirmed or own change, mature, not locked by an earlier `build`."""
        method = "listunspent"
        options = {"maximumCount": UNSPENT_MAX}
        answer = await self._of_wallet(method, 0, 9_999_999, [], False, options)
        unspent = self._typed(method, answer, list[_Unspent])
        return sum(self._atomic(method, entry.amount) for entry in unspent if entry.spendable)

    async def fee_rate_sat_per_kvb(self, *, target_blocks: int) -> int | None:
        """Return the node's estimate of a fee rate to confirm within some blocks; None when it has none."""
        method = "estimatesmartfee"
        estimate = self._typed(method, await self._rpc.call(method, [target_blocks]), _Estimate)
        return None if estimate.feerate is None else self._atomic(method, estimate.feerate)

    async def build(self, outputs: Sequence[tuple[str, int]], *, fee_rate_sat_per_kvb: int) -> SignedTransaction:
        """Create, fund and sign a transaction, and lock its inputs. It is not broadcast.

        The outputs of the signed bytes are compared with those asked for, and may exceed them by one change only.
        """
        wanted = [{address: self._coins(amount)} for address, amount in outputs]
        created = await self._of_wallet("createrawtransaction", [], wanted, 0, False)
        funding = {"feeRate": self._coins(fee_rate_sat_per_kvb), "lockUnspents": True, "replaceable": False}
        try:
            answer = await self._of_wallet("fundrawtransaction", created, funding)
        except NodeRpcError as error:
            if error.code == RPC_WALLET_INSUFFICIENT_FUNDS or "insufficient funds" in error.message.lower():
                raise InsufficientFunds(
                    node=error.node, method=error.method, code=error.code, message=error.message
                ) from error
            raise
        funded = self._typed("fundrawtransaction", answer, _Funded)
        unsigned = self._bytes("fundrawtransaction", funded.hex)
        try:
            return await self._sign(funded, tuple(outputs))
        except BaseException:
            await self._release_quietly(unsigned)
            raise

    async def broadcast(self, raw: bytes) -> BroadcastOutcome:
        """Send a signed transaction; safe to repeat with the same bytes."""
        try:
            txid_hex = parse_transaction(raw).txid[::-1].hex()
        except CoinError as error:
            return BroadcastOutcome(status=BroadcastStatus.REJECTED, reason=f"not a transaction: {error}")
        if await self._is_known_transaction(txid_hex):
            return BroadcastOutcome(status=BroadcastStatus.ALREADY_KNOWN)
        try:
            await self._rpc.call("sendrawtransaction", [raw.hex()])
        except NodeBusy:
            raise
        except NodeRpcError as error:
            return await self._refused(error, txid_hex)
        return BroadcastOutcome(status=BroadcastStatus.ACCEPTED)

    async def transaction(self, txid_hex: str) -> WalletTransaction | None:
        """Return a transaction of the wallet; None when the wallet does not know it."""
        answer = await self._known("gettransaction", [txid_hex], wallet=self._settings.wallet)
        if answer is None:
            return None
        found = self._typed("gettransaction", answer, _OfWallet)
        is_in_mempool = found.confirmations == 0 and await self._is_in_mempool(txid_hex)
        return WalletTransaction(
            txid_hex=found.txid,
            confirmations=found.confirmations,
            block_hash_hex=found.blockhash if found.confirmations > 0 else None,
            fee_atomic=abs(self._atomic("gettransaction", found.fee)),
            is_in_mempool=is_in_mempool,
            raw=self._bytes("gettransaction", found.hex),
        )

    async def sends(self, *, since: str) -> WalletSends:
        """Return what the wallet has sent, newest first."""
        method = "listsinceblock"
        answer = await self._known(method, [since, SENDS_DEPTH_BLOCKS], wallet=self._settings.wallet) if since else None
        if answer is None:
            answer = await self._of_wallet(method, "", SENDS_DEPTH_BLOCKS)
        found = self._typed(method, answer, _Since)
        times = {entry.txid: entry.time for entry in found.transactions if entry.category == "send"}
        newest_first = sorted(times, key=lambda txid: (-times[txid], txid))
        return WalletSends(txids_hex=tuple(newest_first), cursor=found.lastblock)

    async def release(self, raw: bytes) -> None:
        """Unlock the inputs of a transaction that will not be sent; nothing happens to those not locked."""
        inputs = {(entry.txid[::-1].hex(), entry.index) for entry in self._parsed("lockunspent", raw).inputs}
        answer = await self._of_wallet("listlockunspent")
        locked = self._typed("listlockunspent", answer, list[_Outpoint])
        ours = [{"txid": entry.txid, "vout": entry.vout} for entry in locked if (entry.txid, entry.vout) in inputs]
        if ours:
            await self._of_wallet("lockunspent", True, ours)

    async def release_all(self) -> None:
        """Unlock every input of the wallet."""
        await self._of_wallet("lockunspent", True)

    # --- parts ---

    async def _sign(self, funded: _Funded, outputs: tuple[tuple[str, int], ...]) -> SignedTransaction:
        method = "signrawtransactionwithwallet"
        signed = self._typed(method, await self._of_wallet(method, funded.hex), _Signed)
        if not signed.complete:
            raise self._invalid(
                method, expected="a fully signed transaction", got="missing signatures (wallet locked?)"
            )
        raw = self._bytes(method, signed.hex)
        transaction = self._parsed(method, raw)
        paid = [(output.script, output.amount_atomic) for output in transaction.outputs]
        for address, amount in outputs:
            wanted = (decode(self._coin, address).script, amount)
            if wanted not in paid:
                raise self._invalid(method, expected=f"an output of {amount} to {address}", got="none such")
            paid.remove(wanted)
        if len(paid) > 1:
            raise self._invalid(method, expected="at most one output of change", got=str(len(paid)))
        return SignedTransaction(
            raw=raw,
            txid_hex=transaction.txid[::-1].hex(),
            fee_atomic=self._atomic("fundrawtransaction", funded.fee),
            weight=transaction.weight,
            outputs=outputs,
        )

    async def _release_quietly(self, raw: bytes) -> None:
        """Unlock inputs on the way out of a failure, which is the one to be told."""
        try:
            await self.release(raw)
        except NodeError:
            return

    async def _refused(self, error: NodeRpcError, txid_hex: str) -> BroadcastOutcome:
        """Sort a refusal, having looked again whether the node knows the transaction after all."""
        if error.code == RPC_VERIFY_ALREADY_IN_CHAIN:
            return BroadcastOutcome(status=BroadcastStatus.ALREADY_KNOWN, reason=error.message)
        if error.code in (RPC_DESERIALIZATION_ERROR, RPC_VERIFY_ERROR, RPC_VERIFY_REJECTED):
            is_known = await self._is_known_transaction(txid_hex)
            return BroadcastOutcome.from_refusal(error.message, is_known=is_known)
        raise error

    async def _is_known_transaction(self, txid_hex: str) -> bool:
        if await self._is_in_mempool(txid_hex):
            return True
        try:
            found = await self.transaction(txid_hex)
        except NodeBusy:
            raise
        except NodeRpcError:
            return False
        return found is not None and found.confirmations > 0

    async def _is_in_mempool(self, txid_hex: str) -> bool:
        return await self._known("getmempoolentry", [txid_hex]) is not None

    async def _is_mine(self, address: str) -> bool | None:
        """Return None where the node has no wallet, or none that it would choose by itself."""
        try:
            answer = await self._of_wallet("getaddressinfo", address)
        except NodeBusy:
            raise
        except NodeRpcError:
            if self._settings.wallet:
                raise
            return None
        return self._typed("getaddressinfo", answer, _AddressOfWallet).ismine

    async def _of_wallet(self, method: str, *params: object) -> object:
        return await self._rpc.call(method, params, wallet=self._settings.wallet)

    async def _known(self, method: str, params: Sequence[object], *, wallet: str = "") -> object:
        """Call a method that answers "not found" with an error; None stands for that."""
        try:
            return await self._rpc.call(method, params, wallet=wallet)
        except NodeRpcError as error:
            if error.code == RPC_INVALID_ADDRESS_OR_KEY:
                return None
            raise

    def _typed(self, method: str, answer: object, kind: type[T]) -> T:
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise self._invalid(method, expected="the fields of this method", got=str(error)) from error

    def _parsed(self, method: str, raw: bytes) -> Transaction:
        try:
            return parse_transaction(raw)
        except CoinError as error:
            raise self._invalid(method, expected="a transaction", got=str(error)) from error

    def _bytes(self, method: str, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError as error:
            raise self._invalid(method, expected="hex", got=repr(text[:40])) from error

    def _target(self, method: str, bits: str) -> int:
        try:
            return target_from_nbits(int.from_bytes(self._bytes(method, bits), "big"))
        except (CoinError, ValueError, OverflowError) as error:
            raise self._invalid(method, expected="a target", got=repr(bits[:40])) from error

    def _atomic(self, method: str, value: object) -> int:
        try:
            return atomic_from_coins(value, decimals=self._coin.decimals)
        except ValueError as error:
            raise self._invalid(method, expected="an amount", got=str(error)) from error

    def _coins(self, amount_atomic: int) -> str:
        return coins_from_atomic(amount_atomic, decimals=self._coin.decimals)

    def _invalid(self, method: str, *, expected: str, got: str) -> NodeAnswerInvalid:
        return NodeAnswerInvalid(node=self._name, method=method, expected=expected, got=got)
