"""Answer JSON-RPC methods with a simulated node, in a real node's words. No HTTP here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from coins.bitcoin.address import from_script
from coins.bitcoin.transaction import Transaction, parse_transaction
from coins.errors import BlockError
from nodes.amounts import atomic_from_coins, coins_from_atomic
from nodes.errors import (
    RPC_DESERIALIZATION_ERROR,
    RPC_INVALID_ADDRESS_OR_KEY,
    RPC_INVALID_PARAMETER,
    RPC_METHOD_NOT_FOUND,
    RPC_WALLET_ERROR,
    RPC_WALLET_NOT_FOUND,
)
from nodes.simulated import SimulatedNode
from nodes.simulated_chain import StoredBlock, TransactionRefused
from nodes.simulated_tx import Draft, parse_draft
from nodes.simulated_wallet import SimulatedWallet, WalletRefused

RPC_WALLET_NOT_SPECIFIED: Final = -19
RPC_INVALID_REQUEST: Final = -1

Params = Sequence[object]
Handler = Callable[[Params, str], object]


class MethodFailed(Exception):  # what happened to the call
    """Raised when a method answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class SimulatedRpc:
    """The JSON-RPC methods of one simulated node and its wallets.

    Args:
        node: The node.
    """

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._handlers: dict[str, Handler] = {
            name.removeprefix("rpc_"): getattr(self, name) for name in dir(self) if name.startswith("rpc_")
        }

    async def call(self, method: str, params: Params, *, wallet: str) -> object:
        """Call a method; the answer is ready for `msgspec.json.encode`.

        Raises:
            MethodFailed: With a real node's code and message.
            NodeError: When a planned fault says so.
        """

        async def act() -> object:
            try:
                if method == "getblocktemplate":
                    return await self._getblocktemplate(params)
                return self._handler(method)(params, wallet)
            except WalletRefused as error:
                raise MethodFailed(error.code, error.message) from error
            except TransactionRefused as error:
                raise MethodFailed(error.code, error.reason) from error
            except BlockError as error:
                raise MethodFailed(RPC_DESERIALIZATION_ERROR, "decode failed") from error
            except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise MethodFailed(RPC_INVALID_REQUEST, f"{method}: bad parameters ({error})") from error

        return await self._node.through_faults(method, act)

    def _handler(self, method: str) -> Handler:
        if method not in self._handlers:
            raise MethodFailed(RPC_METHOD_NOT_FOUND, "Method not found")
        return self._handlers[method]

    # --- chain ---

    async def _getblocktemplate(self, params: Params) -> object:
        request = params[0] if params else {}
        if not isinstance(request, Mapping):
            raise MethodFailed(RPC_INVALID_PARAMETER, "Invalid mode")
        rules = request.get("rules") or []
        for rule in self._node.coin.template_rules:
            if rule not in rules:
                message = (
                    f'getblocktemplate must be called with the {rule} rule set (call with {{"rules": ["{rule}"]}})'
                )
                raise MethodFailed(RPC_INVALID_PARAMETER, message)
        longpollid = request.get("longpollid")
        return await self._node.template_answer(None if longpollid is None else str(longpollid))

    def rpc_getblockchaininfo(self, _: Params, __: str) -> object:
        """Answer the network and the tip."""
        chain = self._node.chain
        return {
            "chain": self._node.network,
            "blocks": chain.tip.height,
            "headers": chain.tip.height,
            "bestblockhash": _hex(chain.tip.block_hash),
            "mediantime": chain.median_time_s(chain.tip),
            "verificationprogress": 1,
            "initialblockdownload": self._node.is_initial_download,
            "pruned": False,
            "warnings": "",
        }

    def rpc_getblockcount(self, _: Params, __: str) -> object:
        """Answer the height."""
        return self._node.chain.tip.height

    def rpc_getbestblockhash(self, _: Params, __: str) -> object:
        """Answer the tip."""
        return _hex(self._node.chain.tip.block_hash)

    def rpc_getblockhash(self, params: Params, _: str) -> object:
        """Answer the block at a height."""
        height, active = _integer(params[0]), self._node.chain.active
        if not 0 <= height < len(active):
            raise MethodFailed(RPC_INVALID_PARAMETER, "Block height out of range")
        return _hex(active[height].block_hash)

    def rpc_getblockheader(self, params: Params, _: str) -> object:
        """Answer a header, as fields or as hex."""
        stored = self._stored(params[0])
        if len(params) > 1 and not params[1]:
            return stored.block.header.data.hex()
        return self._header_fields(stored)

    def rpc_getblock(self, params: Params, _: str) -> object:
        """Answer a block: 0 as hex, 1 with transaction ids, 2 with decoded transactions."""
        stored = self._stored(params[0])
        verbosity = _integer(params[1]) if len(params) > 1 else 1
        if verbosity == 0:
            return stored.raw.hex()
        pairs = zip(stored.block.transactions, stored.raw_transactions, strict=True)
        transactions = [_hex(tx.txid) if verbosity == 1 else self._decoded(tx, raw) for tx, raw in pairs]
        sizes = {"size": stored.block.size, "weight": stored.block.weight}
        return self._header_fields(stored) | sizes | {"tx": transactions}

    def rpc_submitblock(self, params: Params, _: str) -> object:
        """Take a block; null when it is the new tip."""
        try:
            return self._node.submit(bytes.fromhex(str(params[0]))) or None
        except (BlockError, ValueError) as error:
            raise MethodFailed(RPC_DESERIALIZATION_ERROR, "Block decode failed") from error

    def rpc_invalidateblock(self, params: Params, _: str) -> object:
        """Treat a block as invalid."""
        self._node.invalidate(_hex(self._stored(params[0]).block_hash))
        return None

    def rpc_reconsiderblock(self, params: Params, _: str) -> object:
        """Undo invalidateblock."""
        self._node.reconsider(_hex(self._stored(params[0]).block_hash))
        return None

    def rpc_generatetoaddress(self, params: Params, _: str) -> object:
        """Let the simulated network find blocks that pay an address."""
        address = str(params[1])
        self._any_wallet().script_of(address)
        return list(self._node.mine_blocks(_integer(params[0]), address))

    def rpc_getconnectioncount(self, _: Params, __: str) -> object:
        """Answer one peer, the simulated network."""
        return 1

    def rpc_getzmqnotifications(self, _: Params, __: str) -> object:
        """Answer none."""
        return []

    # --- transactions ---

    def rpc_getrawtransaction(self, params: Params, _: str) -> object:
        """Answer a transaction of the mempool, or of the block that is named."""
        txid = _bytes(params[0])
        raw: bytes | None = None
        if len(params) > 2 and params[2]:
            stored = self._stored(params[2])
            pairs = zip(stored.block.transactions, stored.raw_transactions, strict=True)
            raw = next((data for transaction, data in pairs if transaction.txid == txid), None)
        elif txid in self._node.chain.mempool:
            raw = self._node.chain.mempool[txid].raw
        if raw is None:
            raise MethodFailed(RPC_INVALID_ADDRESS_OR_KEY, "No such mempool or blockchain transaction")
        is_verbose = len(params) > 1 and bool(params[1])
        return self._decoded(parse_transaction(raw), raw) if is_verbose else raw.hex()

    def rpc_decoderawtransaction(self, params: Params, _: str) -> object:
        """Answer the fields of a signed transaction."""
        raw = bytes.fromhex(str(params[0]))
        return self._decoded(parse_transaction(raw), raw)

    def rpc_sendrawtransaction(self, params: Params, _: str) -> object:
        """Take a transaction into the mempool; answer its id."""
        return self._node.send(bytes.fromhex(str(params[0])))

    def rpc_getrawmempool(self, _: Params, __: str) -> object:
        """Answer the ids of what waits."""
        return [_hex(txid) for txid in self._node.chain.mempool]

    def rpc_getmempoolentry(self, params: Params, _: str) -> object:
        """Answer what is known of a transaction that waits."""
        waiting = self._node.chain.mempool.get(_bytes(params[0]))
        if waiting is None:
            raise MethodFailed(RPC_INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
        return {"weight": waiting.transaction.weight, "fees": {"base": self._coins(waiting.fee_atomic)}}

    def rpc_estimatesmartfee(self, params: Params, _: str) -> object:
        """Answer the fee rate in coins per kvB."""
        blocks = _integer(params[0])
        if self._node.fee_rate is None:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": blocks}
        return {"feerate": self._coins(self._node.fee_rate), "blocks": blocks}

    # --- wallets ---

    def rpc_createwallet(self, params: Params, _: str) -> object:
        """Make a wallet."""
        name = str(params[0])
        if name in self._node.wallets:
            raise MethodFailed(RPC_WALLET_ERROR, f"Wallet {name} already exists.")
        self._node.open_wallet(name)
        return {"name": name, "warning": ""}

    def rpc_loadwallet(self, params: Params, _: str) -> object:
        """Refuse: what exists is loaded."""
        name = str(params[0])
        if name not in self._node.wallets:
            raise MethodFailed(RPC_WALLET_NOT_FOUND, f"Wallet {name} not found.")
        raise MethodFailed(RPC_WALLET_ERROR, f"Wallet {name} is already loaded.")

    def rpc_listwallets(self, _: Params, __: str) -> object:
        """Answer the names."""
        return list(self._node.wallets)

    def rpc_listwalletdir(self, _: Params, __: str) -> object:
        """Answer the names, as on a disk."""
        return {"wallets": [{"name": name} for name in self._node.wallets]}

    def rpc_validateaddress(self, params: Params, _: str) -> object:
        """Answer whether an address is one of this network, and its script."""
        address = str(params[0])
        try:
            script = self._any_wallet().script_of(address)
        except WalletRefused:
            return {"isvalid": False}
        return {"isvalid": True, "address": address, "scriptPubKey": script.hex()}

    def rpc_getaddressinfo(self, params: Params, wallet: str) -> object:
        """Answer whether an address is the wallet's."""
        chosen, address = self._wallet(wallet), str(params[0])
        script = chosen.script_of(address)
        return {"address": address, "scriptPubKey": script.hex(), "ismine": chosen.is_mine(script)}

    def rpc_getnewaddress(self, params: Params, wallet: str) -> object:
        """Answer a fresh address; the second parameter is its type."""
        return self._wallet(wallet).new_address(str(params[1]) if len(params) > 1 and params[1] else "bech32")

    def rpc_getbalance(self, _: Params, wallet: str) -> object:
        """Answer the mature balance, locked coins included."""
        return self._coins(self._wallet(wallet).balance_atomic(is_mature=True))

    def rpc_getbalances(self, _: Params, wallet: str) -> object:
        """Answer the mature and the immature balance."""
        chosen = self._wallet(wallet)
        trusted, immature = (chosen.balance_atomic(is_mature=is_mature) for is_mature in (True, False))
        zero = self._coins(0)
        mine = {"trusted": self._coins(trusted), "untrusted_pending": zero, "immature": self._coins(immature)}
        return {"mine": mine}

    def rpc_listunspent(self, _: Params, wallet: str) -> object:
        """Answer what can be spent now; the filters are not looked at."""
        tip = self._node.chain.tip.height
        return [
            {
                "txid": _hex(txid),
                "vout": index,
                "scriptPubKey": entry.script.hex(),
                "address": self._address(entry.script),
                "amount": self._coins(entry.amount_atomic),
                "confirmations": 0 if entry.height is None else tip - entry.height + 1,
                "spendable": True,
                "solvable": True,
                "safe": True,
            }
            for (txid, index), entry in self._wallet(wallet).spendable()
        ]

    def rpc_listlockunspent(self, _: Params, wallet: str) -> object:
        """Answer the outputs that `fundrawtransaction` locked."""
        return [{"txid": _hex(txid), "vout": index} for txid, index in sorted(self._wallet(wallet).locked)]

    def rpc_lockunspent(self, params: Params, wallet: str) -> object:
        """Lock or unlock outputs; unlock all where none is named."""
        chosen = self._wallet(wallet)
        outpoints = {(_bytes(entry["txid"]), _integer(entry["vout"])) for entry in _mappings(params, 1)}
        if not params[0]:
            chosen.locked |= outpoints
        elif not outpoints <= chosen.locked:
            raise MethodFailed(RPC_INVALID_PARAMETER, "Invalid parameter, expected locked output")
        else:
            chosen.locked -= outpoints or set(chosen.locked)
        return True

    def rpc_createrawtransaction(self, params: Params, _: str) -> object:
        """Answer an unsigned transaction with these inputs and outputs."""
        inputs = tuple((_bytes(entry["txid"]), _integer(entry["vout"])) for entry in _mappings(params, 0))
        outputs = params[1]
        entries = [outputs] if isinstance(outputs, Mapping) else _mappings(params, 1)
        pairs = [(str(address), self._atomic(amount)) for entry in entries for address, amount in entry.items()]
        return self._any_wallet().draft(pairs, inputs=inputs).serialise(is_signed=False).hex()

    def rpc_fundrawtransaction(self, params: Params, wallet: str) -> object:
        """Add inputs and change; options feeRate and lockUnspents."""
        options = params[1] if len(params) > 1 and isinstance(params[1], Mapping) else {}
        rate = self._atomic(options["feeRate"]) if "feeRate" in options else self._default_rate()
        is_locking = bool(options.get("lockUnspents", False))
        draft = self._draft(params[0])
        funded = self._wallet(wallet).fund(draft, fee_rate_sat_per_kvb=rate, is_locking=is_locking)
        return {
            "hex": funded.draft.serialise(is_signed=False).hex(),
            "fee": self._coins(funded.fee_atomic),
            "changepos": funded.change_index,
        }

    def rpc_signrawtransactionwithwallet(self, params: Params, wallet: str) -> object:
        """Answer the transaction with placeholder witnesses."""
        raw, is_complete = self._wallet(wallet).sign(self._draft(params[0]))
        return {"hex": raw.hex(), "complete": is_complete}

    def rpc_sendtoaddress(self, params: Params, wallet: str) -> object:
        """Pay an address at once; answer the transaction's id."""
        chosen = self._wallet(wallet)
        draft = chosen.draft([(str(params[0]), self._atomic(params[1]))])
        funded = chosen.fund(draft, fee_rate_sat_per_kvb=self._default_rate(), is_locking=False)
        return self._node.send(chosen.sign(funded.draft)[0])

    def rpc_gettransaction(self, params: Params, wallet: str) -> object:
        """Answer a transaction of the wallet."""
        chosen, txid = self._wallet(wallet), _bytes(params[0])
        sighting = chosen.find(txid)
        if sighting is None:
            raise MethodFailed(RPC_INVALID_ADDRESS_OR_KEY, "Invalid or non-wallet transaction id")
        fields: dict[str, object] = {
            "txid": _hex(txid),
            "confirmations": chosen.confirmations(sighting.transaction),
            "hex": sighting.raw.hex(),
        }
        if sighting.fee_atomic:
            fields["fee"] = self._coins(-sighting.fee_atomic)
        if (stored := self._node.chain.mined_in.get(txid)) is not None:
            fields |= {"blockhash": _hex(stored.block_hash), "blockheight": stored.height}
        return fields

    def rpc_listsinceblock(self, params: Params, wallet: str) -> object:
        """Answer what the wallet has sent in blocks after one, and outside of blocks; what it received is left out."""
        chain, chosen = self._node.chain, self._wallet(wallet)
        since = str(params[0]) if params else ""
        depth = _integer(params[1]) if len(params) > 1 else 1
        txids = chosen.sends(above_height=self._stored(since).height if since else -1)
        entries = []
        for age, txid in enumerate(txids):
            sighting = chosen.find(txid)
            assert sighting is not None
            confirmations = chosen.confirmations(sighting.transaction)
            time_s = len(txids) - age
            entries.append({"category": "send", "txid": _hex(txid), "confirmations": confirmations, "time": time_s})
        return {"transactions": entries[::-1], "removed": [], "lastblock": _hex(chain.at_depth(depth).block_hash)}

    def rpc_getreceivedbyaddress(self, params: Params, wallet: str) -> object:
        """Answer what an address of the wallet has received with at least so many confirmations."""
        chosen = self._wallet(wallet)
        script = chosen.script_of(str(params[0]))
        if not chosen.is_mine(script):
            raise MethodFailed(RPC_WALLET_ERROR, "Address not found in wallet")
        confirmations_min = _integer(params[1]) if len(params) > 1 else 1
        return self._coins(chosen.received_atomic(script, confirmations_min=confirmations_min))

    # --- parts ---

    def _wallet(self, name: str) -> SimulatedWallet:
        """Return the wallet of the path; without one, the only one."""
        wallets = self._node.wallets
        if not name and len(wallets) == 1:
            return self._any_wallet()
        if not name:
            raise MethodFailed(
                RPC_WALLET_NOT_SPECIFIED,
                "Wallet file not specified (must request wallet RPC through /wallet/<filename> uri-path).",
            )
        if name not in wallets:
            raise MethodFailed(RPC_WALLET_NOT_FOUND, "Requested wallet does not exist or is not loaded")
        return wallets[name]

    def _any_wallet(self) -> SimulatedWallet:
        return next(iter(self._node.wallets.values()))

    def _stored(self, value: object) -> StoredBlock:
        text = str(value)
        if len(text) != 64:
            raise MethodFailed(RPC_INVALID_PARAMETER, f"hash must be of length 64 (not {len(text)}, for '{text}')")
        stored = self._node.stored(text)
        if stored is None:
            raise MethodFailed(RPC_INVALID_ADDRESS_OR_KEY, "Block not found")
        return stored

    def _header_fields(self, stored: StoredBlock) -> dict[str, object]:
        header = stored.block.header
        return {
            "hash": _hex(stored.block_hash),
            "confirmations": self._node.chain.confirmations(stored),
            "height": stored.height,
            "version": header.version,
            "merkleroot": _hex(header.merkle_root),
            "time": header.time_s,
            "nonce": header.nonce,
            "bits": f"{header.nbits:08x}",
            "nTx": len(stored.block.transactions),
            "previousblockhash": _hex(header.prev_hash),
        }

    def _decoded(self, transaction: Transaction, raw: bytes) -> dict[str, object]:
        return {
            "txid": _hex(transaction.txid),
            "hash": _hex(transaction.wtxid),
            "size": transaction.size,
            "weight": transaction.weight,
            "hex": raw.hex(),
            "vin": [
                {"coinbase": entry.script.hex()}
                if transaction.is_coinbase
                else {"txid": _hex(entry.txid), "vout": entry.index}
                for entry in transaction.inputs
            ],
            "vout": [
                {
                    "n": index,
                    "value": self._coins(output.amount_atomic),
                    "scriptPubKey": {"hex": output.script.hex(), "address": self._address(output.script)},
                }
                for index, output in enumerate(transaction.outputs)
            ],
        }

    def _address(self, script: bytes) -> str | None:
        found = from_script(self._node.coin, script)
        return None if found is None else found.text

    def _draft(self, value: object) -> Draft:
        try:
            return parse_draft(bytes.fromhex(str(value)))
        except ValueError as error:
            raise MethodFailed(RPC_DESERIALIZATION_ERROR, "TX decode failed") from error

    def _default_rate(self) -> int:
        return self._node.fee_rate or 10_000

    def _coins(self, amount_atomic: int) -> msgspec.Raw:
        """Return an amount as a JSON number with all its digits."""
        return msgspec.Raw(coins_from_atomic(amount_atomic, decimals=self._node.coin.decimals).encode())

    def _atomic(self, value: object) -> int:
        return atomic_from_coins(value, decimals=self._node.coin.decimals)


def _mappings(params: Params, index: int) -> list[Mapping[str, object]]:
    value = params[index] if len(params) > index else []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise MethodFailed(RPC_INVALID_PARAMETER, f"parameter {index + 1} is not a list of objects")
    return value


def _integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MethodFailed(RPC_INVALID_REQUEST, "JSON value is not an integer as expected")
    return value


def _bytes(value: object) -> bytes:
    """Return the internal order of a hash as people read it."""
    return bytes.fromhex(str(value))[::-1]


def _hex(value: bytes) -> str:
    return value[::-1].hex()
