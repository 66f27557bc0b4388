"""The `lodepool` command: the operator's hand on the pool, and the one place that composes several services.

`main` is the command group; each noun is a module of its own: `up`, `demo`, `mine`, `status`, `blocks`, `miners`,
`payouts`, `audit`, `migrate`, `init`, `config`, `eventlog`, `run`. `settings` decodes the whole of `lodepool.toml`;
`local_pool` runs every process of a pool on this machine and `office` is the back-office process it starts. `mining/`
is the CPU miner.

Start with `main`, then `up` and `local_pool`. May import everything; nothing imports it.
"""
