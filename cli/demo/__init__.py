"""`lodepool demo`: a whole pool on a private chain, with CPU miners, in one command.

`command` is the command and its course; `node` brings up litecoind in regtest mode (or the simulated node where it
cannot be had) and keeps its chain lively; `progress` asks the running pool how far it is; `view` draws that.

Start with `command`.
"""
