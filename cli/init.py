"""`lodepool init`: write a commented configuration for a coin, a node and an address, checked against the node."""

import asyncio
import json
from pathlib import Path

import click

from cli.nodes import open_nodes
from cli.options import json_option, print_json
from cli.settings import DEFAULT_PATH
from coins import registry
from coins.bitcoin.address import payee
from coins.coin import Coin
from coins.errors import AddressError, UnknownCoin
from nodes.errors import NodeError
from nodes.settings import NodeSettings
from runtime.errors import UserError

TEMPLATE = """\
# Lodepool's configuration. Every key is checked at the start; unknown keys are refused.
# A key can be overridden from the environment: LODEPOOL_<SECTION>_<KEY>, for example LODEPOOL_STRATUM_PORT.

[pool]
coin = {coin}
# Blocks pay this address. It must belong to the node's wallet, or payouts have nothing to send.
address = {address}
# Journal, complete blocks and the embedded database; relative to this file.
data_dir = "./data"

# The first node's wallet pays the miners. Add further [[nodes]] for failover: blocks go to all of them at once.
[[nodes]]
url = {url}
{login}
wallet = {wallet}

[stratum]
host = "0.0.0.0"
port = 3333
# Worker processes on the port; one core each.
worker_count = 1
# Difficulty of a new connection; vardiff takes it from there.
difficulty_start = {difficulty_start}
# Aim of vardiff: one share per worker in this time.
share_interval_s = 10
# "pplns", "prop" or "solo"; miners may choose with the password, for example m=solo.
scheme_default = "pplns"

[rewards]
# The pool's fee in millionths: 10000 = 1 %.
fee_ppm = 10000
# The PPLNS window holds this much of the network's work for a block.
pplns_window_percent = 200

[payouts]
# Balances from this amount on are paid, in atomic units ({decimals} decimals).
threshold_atomic = {threshold_atomic}
interval_s = 600
confirmations = 6

[gateway]
host = "127.0.0.1"
port = 8080

[postgres]
# "embedded" runs PostgreSQL under data_dir; or give a server: "postgresql://user:password@host/database".
dsn = "embedded"

[log]
level = "INFO"
json = false
"""

_DIFFICULTY_START = {"sha256d": 65536, "scrypt": 1024}
_DIFFICULTY_START_REGTEST = 0.0001


@click.command(
    epilog="Example: lodepool init --coin litecoin --address ltc1q… --node-url http://127.0.0.1:9332 "
    "--node-cookie ~/.litecoin/.cookie --wallet pool"
)
@click.option("--coin", "coin_id", prompt="Coin", help="For example litecoin, litecoin-testnet, bitcoin.")
@click.option("--address", prompt="The pool's payout address", help="Blocks pay this address.")
@click.option("--node-url", prompt="The node's RPC address", default="http://127.0.0.1:9332", help="http://HOST:PORT")
@click.option("--node-user", default="", help="RPC user.")
@click.option("--node-password", default="", envvar="LODEPOOL_NODE_PASSWORD", help="RPC password.")
@click.option(
    "--node-cookie", type=click.Path(path_type=Path), help="The node's .cookie file, instead of user and password."
)
@click.option("--wallet", default="", help="Name of the node's wallet.")
@click.option("--output", type=click.Path(path_type=Path), default=DEFAULT_PATH, show_default=True)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--unchecked", is_flag=True, help="Write the file even when no node answers.")
@json_option
def init(
    coin_id: str,
    address: str,
    node_url: str,
    node_user: str,
    node_password: str,
    node_cookie: Path | None,
    wallet: str,
    output: Path,
    *,
    force: bool,
    unchecked: bool,
    as_json: bool,
) -> None:
    """Write lodepool.toml after checking coin, address and node against one another."""
    if output.exists() and not force:
        raise UserError(f"{output} exists already.", "use --force to overwrite it, or --output for another name")
    coin = _coin(coin_id)
    try:
        canonical = payee(coin, address.strip()).text
    except AddressError as error:
        raise UserError(str(error)) from None
    node = NodeSettings(
        url=node_url,
        user=node_user,
        password=node_password,
        cookie_file=str(node_cookie.expanduser().absolute()) if node_cookie else "",
        wallet=wallet,
    )
    problem = asyncio.run(_problem(coin, node, canonical))
    if problem and not unchecked:
        raise UserError(problem, "nothing was written; --unchecked writes the file all the same")
    output.write_text(render(coin, node, canonical), encoding="utf-8")
    output.chmod(0o600)
    if as_json:
        print_json({"path": str(output), "coin": coin.coin_id, "address": canonical, "node_problem": problem})
        return
    if problem:
        click.echo(f"not checked: {problem}")
    click.echo(f"{output} is written. Start the pool with: lodepool up --config {output}")


def render(coin: Coin, node: NodeSettings, address: str) -> str:
    """Return the text of a configuration file."""
    if node.cookie_file:
        login = f"cookie_file = {_quoted(node.cookie_file)}"
    else:
        login = f"user = {_quoted(node.user)}\npassword = {_quoted(node.password)}"
    is_regtest = coin.network == "regtest"
    return TEMPLATE.format(
        coin=_quoted(coin.coin_id),
        address=_quoted(address),
        url=_quoted(node.url),
        login=login,
        wallet=_quoted(node.wallet),
        decimals=coin.decimals,
        threshold_atomic=coin.atomic_per_coin // 100,
        difficulty_start=_DIFFICULTY_START_REGTEST if is_regtest else _DIFFICULTY_START[coin.algorithm.value],
    )


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)


def _coin(coin_id: str) -> Coin:
    try:
        return registry.get(coin_id.strip().lower())
    except UnknownCoin as error:
        raise UserError(str(error)) from None


async def _problem(coin: Coin, settings: NodeSettings, address: str) -> str:
    """Return what is wrong between node and address; empty when nothing is."""
    async with open_nodes([settings], coin=coin) as (group, wallet):
        try:
            await group.verify_pool_address(coin, address)
            await wallet.balance_atomic()
        except NodeError as error:
            return str(error)
    return ""
