"""Be a node and its wallet inside this process, on a chain in memory.

Blocks that are submitted are checked for real. Blocks of the simulated network (`mine_block`, `reorganise`) need no
proof of work, so that a hard target costs nothing; all that `SimulatedChain` does not check is said there, and what a
signature is in `SimulatedWallet`. The same seed and the same calls give the same chain.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, TypeVar

from coins.bitcoin.address import decode
from coins.bitcoin.block import parse_header
from coins.bitcoin.hashing import HEADER_BYTES
from coins.bitcoin.template import Template, parse_template
from coins.bitcoin.transaction import parse_transaction
from coins.coin import Coin
from coins.errors import AddressError, BlockError
from nodes.errors import (
    RPC_CLIENT_IN_INITIAL_DOWNLOAD,
    InsufficientFunds,
    NodeBusy,
    NodeRpcError,
    NodeUnreachable,
)
from nodes.faults import Fault, FaultKind, Faults
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
from nodes.simulated_chain import REGTEST_NBITS, SimulatedChain, StoredBlock, TransactionRefused, Waiting
from nodes.simulated_template import EXTRANONCE_BYTES, make_block, template_answer
from nodes.simulated_tx import Draft, DraftOutput
from nodes.simulated_wallet import SimulatedWallet, WalletRefused
from runtime.clock import Clock

FEE_RATE_SAT_PER_KVB: Final = 10_000
TIMEOUT_S: Final = 10.0

R = TypeVar("R")


class SimulatedNode:
    """A BitcoinNode and BitcoinWallet without a process.

    Args:
        coin: Whose rules; its `network` is what the node says it is on, unless changed in `network`.
        seed: Addresses, and what makes its blocks differ from others', follow from it.
        clock: Source of time, for block times, latency and timeouts.
        name: What logs call it.
        wallet: Name of the wallet that the wallet methods use.
        nbits: The target of the chain.
    """

    def __init__(
        self,
        coin: Coin,
        *,
        seed: str,
        clock: Clock,
        name: str = "simulated",
        wallet: str = "pool",
        nbits: int = REGTEST_NBITS,
    ) -> None:
        self.coin = coin
        self.network = coin.network
        self.is_initial_download = False
        self.fee_rate: int | None = FEE_RATE_SAT_PER_KVB
        self.faults = Faults()
        self.chain = SimulatedChain(coin, nbits=nbits)
        self.wallets: dict[str, SimulatedWallet] = {}
        self._seed = seed
        self._clock = clock
        self._name = name
        self._wallet_name = wallet
        self._random = Random(f"{seed}/{name}")  # noqa: S311  # the same from the same seed
        self._peers: list[SimulatedNode] = []
        self._changed = asyncio.Event()
        self._looked_at: set[bytes] = {self.chain.tip.block_hash}
        self.open_wallet(wallet)

    @property
    def name(self) -> str:
        """Return what logs and health call the node."""
        return self._name

    @property
    def wallet(self) -> SimulatedWallet:
        """Return the wallet that the wallet methods use."""
        return self.wallets[self._wallet_name]

    def open_wallet(self, name: str) -> SimulatedWallet:
        """Return a wallet, a new one when there is none of this name."""
        if name not in self.wallets:
            self.wallets[name] = SimulatedWallet(self.chain, name=name, seed=f"{self._seed}/{self._name}")
        return self.wallets[name]

    # --- what a test or the demo does to it ---

    def mine_block(self, address: str = "", *, with_transactions: bool = True) -> str:
        """Let the simulated network find a block on the tip; return its hash as people read it.

        Args:
            address: Who is paid; empty means a stranger.
            with_transactions: Whether it takes the mempool's.
        """
        waiting = self.chain.template_transactions() if with_transactions else ()
        return self._mine_on(self.chain.tip, waiting, script=self._payee(address))

    def mine_blocks(self, count: int, address: str = "") -> tuple[str, ...]:
        """Let the simulated network find several blocks."""
        return tuple(self.mine_block(address) for _ in range(count))

    def reorganise(self, depth: int, *, address: str = "") -> tuple[str, ...]:
        """Replace the last `depth` blocks by one more, all without transactions; return the new hashes.

        What the old blocks held goes back to the mempool.
        """
        parent = self.chain.active[-1 - depth]
        script = self._payee(address)
        hashes = []
        for _ in range(depth + 1):
            hashes.append(self._mine_on(parent, (), script=script))
            parent = self.chain.blocks[bytes.fromhex(hashes[-1])[::-1]]
        return tuple(hashes)

    def mine_double_spend(self, txid_hex: str) -> str:
        """Mine a block in which a stranger gets what a transaction of the mempool wanted to spend."""
        inputs = self.chain.mempool[bytes.fromhex(txid_hex)[::-1]].transaction.inputs
        outpoints = tuple((entry.txid, entry.index) for entry in inputs)
        have = sum(self.chain.unspent[outpoint].amount_atomic for outpoint in outpoints)
        draft = Draft(inputs=outpoints, outputs=(DraftOutput(script=self._payee(""), amount_atomic=have),))
        raw = draft.serialise(is_signed=True)
        waiting = Waiting(transaction=parse_transaction(raw), raw=raw, fee_atomic=0)
        return self._mine_on(self.chain.tip, (waiting,), script=self._payee(""))

    def invalidate(self, block_hash_hex: str) -> None:
        """Treat a block and all on top of it as invalid."""
        self.chain.invalidate(bytes.fromhex(block_hash_hex)[::-1])
        self._after_change()

    def reconsider(self, block_hash_hex: str) -> None:
        """Undo `invalidate`."""
        self.chain.reconsider(bytes.fromhex(block_hash_hex)[::-1])
        self._after_change()

    def connect(self, other: "SimulatedNode") -> None:
        """Make peers of two nodes: each passes on what the other lacks, now and from now on."""
        self._peers.append(other)
        other._peers.append(self)  # noqa: SLF001  # a node of the same kind
        self._relay()
        other._relay()  # noqa: SLF001

    def disconnect(self, other: "SimulatedNode") -> None:
        """End what `connect` began."""
        self._peers.remove(other)
        other._peers.remove(self)  # noqa: SLF001

    def go_down(self) -> None:
        """Refuse every call from now on, and break those under way."""
        self.faults.is_down = True
        self._wake()

    def come_up(self) -> None:
        """Answer again."""
        self.faults.is_down = False

    # --- what the HTTP server and the methods below share ---

    async def through_faults(self, method: str, act: Callable[[], Awaitable[R]]) -> R:
        """Do something unless the plan of faults says otherwise."""
        fault = self.faults.take(method)
        if self.faults.latency_s:
            await self._clock.sleep(self.faults.latency_s)
        kind = None if fault is None else fault.kind
        if kind is FaultKind.REFUSE:
            raise self._unreachable(method, "connection refused")
        if kind is FaultKind.TIMEOUT:
            await self._clock.sleep(TIMEOUT_S)
            raise self._unreachable(method, f"no answer within {TIMEOUT_S:g} s")
        if fault is not None and kind is FaultKind.ERROR:
            raise self._failure(method, fault)
        result = await act()
        if kind is FaultKind.DROP_ANSWER:
            raise self._unreachable(method, "connection reset by peer")
        return result

    async def template_answer(self, longpollid: str | None) -> dict[str, object]:
        """Return what `getblocktemplate` answers; with a longpollid once the tip has changed."""
        if self.is_initial_download:
            raise NodeBusy(
                node=self._name,
                method="getblocktemplate",
                code=RPC_CLIENT_IN_INITIAL_DOWNLOAD,
                message="simulated node is downloading blocks...",
            )
        while longpollid is not None and longpollid[:64] == self._tip_hex():
            changed = self._changed
            await changed.wait()
            if self.faults.is_down:
                raise self._unreachable("getblocktemplate", "connection reset by peer")
        return template_answer(
            self.chain, self.chain.tip, self.chain.template_transactions(), now_s=self._clock.now_s()
        )

    def submit(self, raw: bytes) -> str:
        """Take a block from outside; empty when accepted, else why not.

        Raises:
            BlockError: When the bytes are not a block.
        """
        reason = self.chain.accept_block(raw, now_s=self._clock.now_s())
        self._after_change()
        return reason

    def send(self, raw: bytes) -> str:
        """Take a transaction into the mempool and return its id.

        Raises:
            TransactionRefused: With a real node's code and words.
        """
        transaction = self.chain.accept_transaction(raw)
        for wallet in self.wallets.values():
            wallet.look_at(transaction, raw)
        self._relay()
        return transaction.txid[::-1].hex()

    def stored(self, block_hash_hex: str) -> StoredBlock | None:
        """Return a block of any branch."""
        return self.chain.blocks.get(bytes.fromhex(block_hash_hex)[::-1])

    # --- the node ---

    async def chain_info(self) -> ChainInfo:
        """Return the node's network and tip."""

        async def act() -> ChainInfo:
            return ChainInfo(
                chain=self.network,
                height=self.chain.tip.height,
                tip_hash_hex=self._tip_hex(),
                is_initial_download=self.is_initial_download,
            )

        return await self.through_faults("getblockchaininfo", act)

    async def block_template(self, *, longpollid: str | None = None, timeout_s: float | None = None) -> Template:
        """Return work on the node's tip; with a `longpollid` as soon as that one is out of date."""

        async def act() -> Template:
            async with asyncio.timeout(timeout_s):
                answer = await self.template_answer(longpollid)
            return parse_template(self.coin, answer)

        try:
            return await self.through_faults("getblocktemplate", act)
        except TimeoutError as error:
            raise self._unreachable("getblocktemplate", f"no answer within {timeout_s:g} s") from error

    async def submit_block(self, block: bytes) -> SubmitOutcome:
        """Check a serialised block and take it."""

        async def act() -> SubmitOutcome:
            try:
                return SubmitOutcome.from_answer(self.submit(block))
            except BlockError as error:
                return SubmitOutcome(status=SubmitStatus.REJECTED, reason=f"Block decode failed: {error}")

        return await self.through_faults("submitblock", act)

    async def address_info(self, address: str) -> AddressInfo:
        """Return what the node makes of an address, and whether it is the wallet's."""

        async def act() -> AddressInfo:
            try:
                script = decode(self.coin, address).script
            except AddressError:
                return AddressInfo(is_valid=False, script=b"", is_mine=None)
            return AddressInfo(is_valid=True, script=script, is_mine=self.wallet.is_mine(script))

        return await self.through_faults("validateaddress", act)

    async def block_hash_at(self, height: int) -> str | None:
        """Return the active chain's block at a height; None above the tip."""

        async def act() -> str | None:
            active = self.chain.active
            return active[height].block_hash[::-1].hex() if 0 <= height < len(active) else None

        return await self.through_faults("getblockhash", act)

    async def header(self, block_hash_hex: str) -> HeaderInfo | None:
        """Return a block's header; None when the node has never seen it."""

        async def act() -> HeaderInfo | None:
            stored = self.stored(block_hash_hex)
            return (
                None
                if stored is None
                else HeaderInfo(
                    block_hash_hex=block_hash_hex,
                    height=stored.height,
                    confirmations=self.chain.confirmations(stored),
                    time_s=stored.block.header.time_s,
                )
            )

        return await self.through_faults("getblockheader", act)

    async def block(self, block_hash_hex: str) -> BlockInfo | None:
        """Return a block and its coinbase; None when the node has never seen it."""

        async def act() -> BlockInfo | None:
            stored = self.stored(block_hash_hex)
            if stored is None:
                return None
            coinbase = stored.block.coinbase
            return BlockInfo(
                block_hash_hex=block_hash_hex,
                height=stored.height,
                confirmations=self.chain.confirmations(stored),
                coinbase_txid_hex=coinbase.txid[::-1].hex(),
                coinbase_outputs=tuple((output.script, output.amount_atomic) for output in coinbase.outputs),
                network_target=self.chain.target,
            )

        return await self.through_faults("getblock", act)

    async def has_zmq(self) -> bool:
        """Return False: it has long poll only."""

        async def act() -> bool:
            return False

        return await self.through_faults("getzmqnotifications", act)

    async def wait_for_zmq_block(self, *, timeout_s: float) -> bool:
        """Return False after the time: there is no ZMQ."""
        await self._clock.sleep(timeout_s)
        return False

    async def close(self) -> None:
        """Break the long polls under way."""
        self._wake()

    # --- the wallet ---

    async def balance_atomic(self) -> int:
        """Return what can be spent now: confirmed or own change, mature, not locked by an earlier `build`."""

        async def act() -> int:
            return self.wallet.balance_atomic(is_mature=True, with_locked=False)

        return await self.through_faults("listunspent", act)

    async def fee_rate_sat_per_kvb(self, *, target_blocks: int) -> int | None:
        """Return `fee_rate`, whatever the number of blocks."""

        async def act() -> int | None:
            return self.fee_rate if target_blocks > 0 else None

        return await self.through_faults("estimatesmartfee", act)

    async def build(self, outputs: Sequence[tuple[str, int]], *, fee_rate_sat_per_kvb: int) -> SignedTransaction:
        """Create, fund and sign a transaction, and lock its inputs. It is not broadcast."""

        async def act() -> SignedTransaction:
            method = "fundrawtransaction"
            try:
                draft = self.wallet.draft(outputs)
                funded = self.wallet.fund(draft, fee_rate_sat_per_kvb=fee_rate_sat_per_kvb, is_locking=True)
            except WalletRefused as error:
                kind = InsufficientFunds if error.message == "Insufficient funds" else NodeRpcError
                raise kind(node=self._name, method=method, code=error.code, message=error.message) from error
            raw, _ = self.wallet.sign(funded.draft)
            return SignedTransaction(
                raw=raw,
                txid_hex=funded.draft.txid[::-1].hex(),
                fee_atomic=funded.fee_atomic,
                weight=funded.draft.weight,
                outputs=tuple(outputs),
            )

        return await self.through_faults("fundrawtransaction", act)

    async def broadcast(self, raw: bytes) -> BroadcastOutcome:
        """Send a signed transaction; safe to repeat with the same bytes."""

        async def act() -> BroadcastOutcome:
            try:
                txid = parse_transaction(raw).txid
            except BlockError as error:
                return BroadcastOutcome(status=BroadcastStatus.REJECTED, reason=f"not a transaction: {error}")
            if txid in self.chain.mempool or txid in self.chain.mined_in:
                return BroadcastOutcome(status=BroadcastStatus.ALREADY_KNOWN)
            try:
                self.send(raw)
            except TransactionRefused as error:
                return BroadcastOutcome.from_refusal(error.reason, is_known=False)
            return BroadcastOutcome(status=BroadcastStatus.ACCEPTED)

        return await self.through_faults("sendrawtransaction", act)

    async def transaction(self, txid_hex: str) -> WalletTransaction | None:
        """Return a transaction of the wallet; None when the wallet does not know it."""

        async def act() -> WalletTransaction | None:
            txid = bytes.fromhex(txid_hex)[::-1]
            sighting = self.wallet.find(txid)
            if sighting is None:
                return None
            stored = self.chain.mined_in.get(txid)
            return WalletTransaction(
                txid_hex=txid_hex,
                confirmations=self.wallet.confirmations(sighting.transaction),
                block_hash_hex=None if stored is None else stored.block_hash[::-1].hex(),
                fee_atomic=sighting.fee_atomic,
                is_in_mempool=txid in self.chain.mempool,
                raw=sighting.raw,
            )

        return await self.through_faults("gettransaction", act)

    async def sends(self, *, since: str) -> WalletSends:
        """Return what the wallet has sent, newest first."""

        async def act() -> WalletSends:
            stored = self.stored(since) if since else None
            txids = self.wallet.sends(above_height=-1 if stored is None else stored.height)
            return WalletSends(
                txids_hex=tuple(txid[::-1].hex() for txid in txids),
                cursor=self.chain.at_depth(SENDS_DEPTH_BLOCKS).block_hash[::-1].hex(),
            )

        return await self.through_faults("listsinceblock", act)

    async def release(self, raw: bytes) -> None:
        """Unlock the inputs of a transaction that will not be sent."""

        async def act() -> None:
            self.wallet.locked -= {(entry.txid, entry.index) for entry in parse_transaction(raw).inputs}

        await self.through_faults("lockunspent", act)

    async def release_all(self) -> None:
        """Unlock every input of the wallet."""
        await self.through_faults("lockunspent", self._unlock_all)

    # --- parts ---

    async def _unlock_all(self) -> None:
        self.wallet.locked.clear()

    def _mine_on(self, parent: StoredBlock, waiting: Sequence[Waiting], *, script: bytes) -> str:
        extranonce = self._random.randbytes(EXTRANONCE_BYTES)
        block, time_s = make_block(
            self.chain, parent, waiting, script=script, extranonce=extranonce, now_s=self._clock.now_s()
        )
        reason = self.chain.accept_block(block, now_s=time_s, is_trusted=True)
        if reason not in ("", "inconclusive"):
            raise AssertionError(f"the simulated network made a block that is refused: {reason}")
        self._after_change()
        return parse_header(block[:HEADER_BYTES]).block_hash_hex

    def _payee(self, address: str) -> bytes:
        return decode(self.coin, address).script if address else b"\x00\x14" + self._random.randbytes(20)

    def _after_change(self) -> None:
        """Show new blocks to the wallets, wake the long polls, tell the peers."""
        fresh = []
        for stored in reversed(self.chain.active):
            if stored.block_hash in self._looked_at:
                break
            fresh.append(stored)
        if not fresh:
            self._wake()
            return
        for stored in reversed(fresh):
            self._looked_at.add(stored.block_hash)
            for transaction, raw in zip(stored.block.transactions, stored.raw_transactions, strict=True):
                for wallet in self.wallets.values():
                    wallet.look_at(transaction, raw)
        self._wake()
        self._relay()

    def _relay(self) -> None:
        """Give peers the blocks and transactions they lack."""
        for peer in self._peers:
            for stored in self.chain.missing_from(peer.chain):
                peer.chain.accept_block(stored.raw, now_s=stored.block.header.time_s, is_trusted=stored.is_trusted)
            lacking = [entry.raw for txid, entry in self.chain.mempool.items() if txid not in peer.chain.mempool]
            for raw in lacking:
                try:
                    peer.send(raw)
                except TransactionRefused:
                    continue
            peer._after_change()  # noqa: SLF001  # a node of the same kind

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _tip_hex(self) -> str:
        return self.chain.tip.block_hash[::-1].hex()

    def _unreachable(self, method: str, reason: str) -> NodeUnreachable:
        return NodeUnreachable(node=self._name, method=method, url="the simulation", reason=reason)

    def _failure(self, method: str, fault: Fault) -> NodeRpcError:
        kind = NodeBusy if fault.code in (-28, -9, -10) else NodeRpcError
        return kind(node=self._name, method=method, code=fault.code, message=fault.message)
