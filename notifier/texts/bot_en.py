"""What the bot says in English. {names} are put in; every value is escaped, the markup stands here."""

from collections.abc import Mapping
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "choose_language": "Choose your language. / Выберите язык.",
    "hello": "<b>{pool}</b>\nI tell you when a worker stops, when it comes back, and when you are paid.\n\n"
    "Send me the address you mine to.",
    "welcome_back": "<b>{pool}</b>\nI am here. Addresses you watch: {count}.\n/list shows them, /help what I can do.",
    "help": "<b>{pool}</b>\n"
    "/watch ADDRESS – watch an address\n/list – what you watch\n/unwatch – stop watching\n"
    "/stats – hashrate and a chart of the day\n/workers – workers, page by page\n/balance – balance\n"
    "/payouts – last payouts\n/blocks – last blocks of the pool\n/alerts – what I tell you\n"
    "/quiet 22:00-07:00 Europe/London – quiet hours; /quiet off ends them\n"
    "/export – credits and payouts as a table (CSV)\n/language – language\n\n"
    "/stats, /workers, /balance, /payouts and /export take an address as well. "
    "In any chat: @{bot} and an address for a quick look. In groups only administrators change settings.",
    "help_admin": "\n\n<b>Operators</b>\n/pool – state of the pool\n/hold REASON – hold payouts\n"
    "/resume – let payouts be made again",
    "unknown_command": "I do not know this command. /help shows what I can do.",
    "language_set": "I speak English now.",
    "watch_usage": "Which address? <code>/watch ADDRESS</code>\nAddresses here look like this: {expected}",
    "address_foreign": "<code>{address}</code> is an address of another network: {looks_like}.\n"
    "This pool takes {expected}.",
    "address_mweb": "<code>{address}</code> is an MWEB address; a pool cannot pay to those.\n"
    "This pool takes {expected}.",
    "address_mistyped": "<code>{address}</code> has a typing error: its checksum does not fit. "
    "Best copy the address.\nThis pool takes {expected}.",
    "address_unknown": "<code>{address}</code> is not an address.\nThis pool takes {expected}.",
    "watched": "I watch <code>{account}</code>.\nI tell you when a worker stops or comes back, when the hashrate "
    "falls or shares are refused, and of credits and payouts. /alerts changes that.",
    "watched_unseen": "\n\nNobody has mined to this address here yet.",
    "already_watched": "I watch <code>{account}</code> already.",
    "watches_full": "This chat watches {count} addresses, more are not possible. /unwatch ends one.",
    "nothing_watched": "You watch no address yet. Send me one, or <code>/watch ADDRESS</code>.",
    "list_head": "<b>You watch</b>",
    "list_row": "• <code>{account}</code>{state}",
    "state_paused": " (paused)",
    "unwatch_head": "Which address shall I stop watching?",
    "unwatched": "I do not watch <code>{account}</code> any more.",
    "choose_account": "Which address?",
    "stats": "<b>{account}</b>\n{hps_5m} – 5 minutes\n{hps_1h} – 1 hour\n{hps_24h} – 24 hours\n"
    "Workers online: {online} of {total}\nShares: {accepted}, late {stale}, refused {refused}\n"
    "Last share: {last}",
    "never": "never",
    "workers_head": "<b>Workers</b> of <code>{account}</code>, {first}–{last} of {total}",
    "workers_none": "No worker has mined to <code>{account}</code> yet.",
    "worker_row": "{mark} <b>{worker}</b> {hps}, last share {last}",
    "default_worker": "(no name)",
    "balance": "<b>Balance</b> of <code>{account}</code>\nPayable: {payable}\nMaturing: {immature}\n"
    "Being paid: {reserved}\nPaid: {paid}",
    "payouts_head": "<b>Last payouts</b> to <code>{account}</code>",
    "payouts_none": "Nothing was paid to <code>{account}</code> yet.",
    "payout_row": "{time} – <b>{amount}</b>, {status}\n<code>{txid}</code>",
    "payout_row_unsent": "{time} – <b>{amount}</b>, {status}",
    "payout_reserved": "in preparation",
    "payout_signed": "signed",
    "payout_broadcast": "sent",
    "payout_confirmed": "confirmed",
    "payout_review": "waits for the operator",
    "payout_voided": "given up",
    "payout_unspecified": "unknown",
    "blocks_head": "<b>Last blocks</b>",
    "blocks_none": "The pool has not found a block yet.",
    "block_row": "{time} – <b>{height}</b>, {amount}, {status}{effort}",
    "block_effort": ", effort {percent}",
    "block_candidate": "just found",
    "block_immature": "maturing",
    "block_mature": "mature",
    "block_orphaned": "orphaned",
    "block_unspecified": "unknown",
    "alerts_head": "<b>What I tell you</b> about <code>{account}</code>\n"
    "Hashrate below {hashrate_percent} % of the usual one, refused shares from {reject_percent} % on.",
    "kind_worker_offline": "worker stops",
    "kind_worker_online": "worker is back",
    "kind_hashrate_low": "hashrate falls",
    "kind_rejects_high": "shares refused",
    "kind_credit": "credits",
    "kind_payout_sent": "payout sent",
    "kind_payout_confirmed": "payout confirmed",
    "kind_payout_delayed": "payout delayed",
    "kind_blocks": "the pool's blocks",
    "kind_trouble": "troubles (operators)",
    "digest_now": "at once",
    "digest_min": "every {minutes} min",
    "alerts_last": "One kind has to stay. /unwatch ends them all.",
    "gone_button": "This is not watched any more.",
    "quiet_off": "There are no quiet hours. Times are those of {zone}.",
    "quiet_set": "Quiet from {start} to {end}, {zone}. What happens then I tell you afterwards.",
    "quiet_usage": "Like this: <code>/quiet 22:00-07:00 Europe/London</code>, or <code>/quiet off</code>.\n{now}",
    "export_name": "lodepool-{account}.csv",
    "export_none": "There is nothing to export for <code>{account}</code> yet.",
    "pool_view": "<b>{pool}</b>\n{hps_5m} – 5 minutes\n{hps_24h} – 24 hours\nAccounts: {accounts}, workers: {workers}\n"
    "Payouts: {payer}\nPaid: {paid}\nBatches in review: {review}",
    "payer_held": "held by the operator",
    "payer_waits": "wait: {reason}",
    "payer_runs": "run",
    "held": "Payouts are held. /resume lets them be made again.",
    "resumed": "Payouts are made again.",
    "hold_reason": "held from Telegram",
    "not_operator": "Only the pool's operators may do this.",
    "group_admins_only": "Only administrators of the group may change this.",
    "flood": "That was too much at once. I answer again in a minute.",
    "service_away": "The pool does not answer right now. Please try again soon.",
    "failed": "That did not work; the operators can see why in the log. Please try again later.",
    "inline_title": "{account}: {hps}",
    "inline_hint": "Type an address to look it up",
    "page_back": "←",
    "page_on": "→",
    "refresh": "⟳",
    "command_stats": "hashrate and chart",
    "command_workers": "workers",
    "command_balance": "balance",
    "command_payouts": "last payouts",
    "command_blocks": "last blocks",
    "command_watch": "watch an address",
    "command_list": "what you watch",
    "command_alerts": "what I tell you",
    "command_quiet": "quiet hours",
    "command_export": "table of credits and payouts",
    "command_help": "help",
}
