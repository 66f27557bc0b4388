"""Clients whose calls go round what the register shows: `RpcClients` over an `EtcdDirectory`."""

from runtime.rpc.client import RpcClients

BalancedClients = RpcClients
"""All clients follow their directory; this is their name where the directory changes."""

__all__ = ["BalancedClients"]
