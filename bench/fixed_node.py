"""A node with one template for ever: hard to solve, full of transactions, so that a benchmark never finds a block.

Run as `python -m bench.fixed_node PORT`; prints READY.
"""

import asyncio
import sys
import time

from aiohttp import web

from coins import registry
from coins.bitcoin.address import decode
from coins.bitcoin.merkle import witness_commitment
from coins.bitcoin.template import COMMITMENT_PREFIX
from coins.bitcoin.transaction import parse_transaction
from coins.work import target_from_nbits

COIN = registry.get("bitcoin")
POOL_ADDRESS = "1BoatSLRHtKNngkdXEeobR76b53LETtpyT"
HEIGHT = 900_000
NBITS = 0x17023A04
TRANSACTION_COUNT = 500
TIP = "00" * 8 + "7d" * 24


def transaction(number: int) -> bytes:
    """Return a small transaction that differs from all others."""
    spent = number.to_bytes(32, "little")
    return (
        b"\x02\x00\x00\x00\x01" + spent + b"\x00\x00\x00\x00\x00\xff\xff\xff\xff"
        b"\x01" + (1000).to_bytes(8, "little") + b"\x01\x51" + b"\x00\x00\x00\x00"
    )


def template() -> dict[str, object]:
    """Return the answer to getblocktemplate."""
    raw = [transaction(number) for number in range(1, TRANSACTION_COUNT + 1)]
    parsed = [parse_transaction(data) for data in raw]
    return {
        "version": 0x20000000,
        "rules": ["csv", "!segwit"],
        "previousblockhash": TIP,
        "transactions": [
            {
                "data": data.hex(),
                "txid": tx.txid[::-1].hex(),
                "hash": tx.wtxid[::-1].hex(),
                "fee": 100,
                "weight": 4 * len(data),
            }
            for data, tx in zip(raw, parsed, strict=True)
        ],
        "coinbasevalue": 312_500_000 + 100 * TRANSACTION_COUNT,
        "longpollid": TIP + "1",
        "target": f"{target_from_nbits(NBITS):064x}",
        "mintime": int(time.time()) - 3600,
        "curtime": int(time.time()),
        "bits": f"{NBITS:08x}",
        "height": HEIGHT,
        "default_witness_commitment": (COMMITMENT_PREFIX + witness_commitment([tx.wtxid for tx in parsed])).hex(),
    }


async def answer(request: web.Request) -> web.Response:
    """Answer one JSON-RPC call."""
    call = await request.json()
    params = call.get("params") or []
    match call["method"]:
        case "getblocktemplate":
            if params and params[0].get("longpollid"):
                await asyncio.sleep(3600)
            result: object = template()
        case "getblockchaininfo":
            result = {
                "chain": "main",
                "blocks": HEIGHT - 1,
                "headers": HEIGHT - 1,
                "bestblockhash": TIP,
                "initialblockdownload": False,
            }
        case "validateaddress":
            result = {"isvalid": True, "address": params[0], "scriptPubKey": decode(COIN, params[0]).script.hex()}
        case "getblockcount":
            result = HEIGHT - 1
        case "getbestblockhash":
            result = TIP
        case "getzmqnotifications":
            result = []
        case method:
            return web.json_response(
                {"id": call.get("id"), "result": None, "error": {"code": -32601, "message": method}}, status=404
            )
    return web.json_response({"id": call.get("id"), "result": result, "error": None})


async def serve(port: int) -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("READY", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
