"""Ask the miner service for the accounts' own thresholds."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from payouts.errors import WaitCause, Waiting
from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from runtime.rpc.client import RpcClients, call
from runtime.rpc.errors import RpcError

_ACCOUNTS_MAX = 1000


class ThresholdSource(Protocol):
    """Knows at which balance an account wants to be paid."""

    async def thresholds(self, coin_id: str, accounts: Sequence[str]) -> Mapping[str, int]:
        """Return thresholds in atomic units; accounts without one of their own are missing or 0.

        Raises:
            Waiting: When nobody can be asked; the default must not stand in for a wish that cannot be read.
        """
        ...


class MinerServiceThresholds:
    """Asks MinerService.BatchGetAccounts.

    Args:
        clients: Channels to the services.
        timeout_s: Limit of one call.
    """

    def __init__(self, clients: RpcClients, *, timeout_s: float) -> None:
        self._clients = clients
        self._timeout_s = timeout_s

    async def thresholds(self, coin_id: str, accounts: Sequence[str]) -> Mapping[str, int]:
        """Return the accounts' own thresholds in atomic units."""
        stub = miners_pb2_grpc.MinerServiceStub(self._clients.channel("miners"))
        found: dict[str, int] = {}
        for start in range(0, len(accounts), _ACCOUNTS_MAX):
            asked = accounts[start : start + _ACCOUNTS_MAX]
            request = miners_pb2.BatchGetAccountsRequest(coin=coin_id, accounts=asked)
            try:
                answer: miners_pb2.BatchGetAccountsResponse = await call(
                    stub.BatchGetAccounts, request, timeout_s=self._timeout_s
                )
            except RpcError as error:
                raise Waiting(
                    f"the miner service does not tell the accounts' thresholds: {error.message}",
                    cause=WaitCause.MINERS,
                ) from error
            found.update((entry.account, entry.payout_threshold_atomic) for entry in answer.accounts)
        return found
