"""`lodepool blocks`: the blocks the pool found."""

from pathlib import Path

import click

from cli.options import as_dict, config_option, json_option, limit_option, print_facts, print_json, print_rows
from cli.reading import ratio_percent, read, time_text
from cli.settings import load_settings
from proto.lodepool.rewards.v1 import rewards_pb2
from runtime.rpc.client import call

STATUS_WORDS = {
    rewards_pb2.BLOCK_STATUS_CANDIDATE: "candidate",
    rewards_pb2.BLOCK_STATUS_IMMATURE: "immature",
    rewards_pb2.BLOCK_STATUS_MATURE: "mature",
    rewards_pb2.BLOCK_STATUS_ORPHANED: "orphaned",
}


@click.command(epilog="Example: lodepool blocks --limit 50; lodepool blocks BLOCKHASH")
@click.argument("block_hash", required=False)
@config_option
@limit_option
@json_option
def blocks(block_hash: str | None, config: Path, limit: int, *, as_json: bool) -> None:
    """List found blocks, newest first; with BLOCK_HASH show one and who was credited for it."""
    settings = load_settings(config)
    coin = settings.coin
    if block_hash:
        block = read(
            settings,
            lambda stubs: call(
                stubs.rewards.GetBlock,
                rewards_pb2.GetBlockRequest(coin=coin.coin_id, block_hash_hex=block_hash.strip().lower()),
            ),
        )
        if as_json:
            print_json(as_dict(block))
            return
        print_facts(
            {
                "block": block.block_hash_hex,
                "height": block.height,
                "status": STATUS_WORDS[block.status],
                "confirmations": f"{block.confirmations} of {block.maturity_blocks}",
                "found": f"{time_text(block.found_time_ms)} by {block.account}.{block.worker}",
                "reward": coin.format_amount(block.reward_atomic),
                "pool fee": coin.format_amount(block.pool_fee_atomic),
                "remainder": coin.format_amount(block.remainder_atomic),
                "window work": block.window_work,
                **({"waits for you": block.hold_reason} if block.hold_reason else {}),
            }
        )
        credit_rows = [(c.account, c.work, coin.format_amount(c.amount_atomic)) for c in block.credits]
        print_rows("Credits", ("account", "work", "amount"), credit_rows, empty="Nobody is credited yet.")
        return
    answer = read(
        settings,
        lambda stubs: call(stubs.rewards.ListBlocks, rewards_pb2.ListBlocksRequest(coin=coin.coin_id, page_size=limit)),
    )
    if as_json:
        print_json([as_dict(block) for block in answer.blocks])
        return
    rows = [
        (
            block.height,
            time_text(block.found_time_ms),
            STATUS_WORDS[block.status],
            f"{block.confirmations}/{block.maturity_blocks}",
            ratio_percent(block.round_work, block.network_work),
            coin.format_amount(block.reward_atomic),
            block.block_hash_hex,
        )
        for block in answer.blocks
    ]
    columns = ("height", "found (UTC)", "status", "confirmations", "effort", "reward", "hash")
    print_rows("Blocks", columns, rows, empty="The pool has not found a block yet.")
    for block in answer.blocks:
        if block.hold_reason:
            click.echo(f"Block {block.height} ({block.block_hash_hex}) waits for you: {block.hold_reason}")
