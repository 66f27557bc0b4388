"""The services the gateway asks, each call with a deadline."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from grpc_health.v1 import health_pb2, health_pb2_grpc

from proto.lodepool.miners.v1 import miners_pb2, miners_pb2_grpc
from proto.lodepool.payouts.v1 import payouts_pb2, payouts_pb2_grpc
from proto.lodepool.rewards.v1 import rewards_pb2, rewards_pb2_grpc
from proto.lodepool.shares.v1 import shares_pb2, shares_pb2_grpc
from proto.lodepool.stratum.v1 import stratum_pb2, stratum_pb2_grpc
from runtime.logs import log_event
from runtime.rpc.client import RpcClients, call
from runtime.rpc.errors import RpcError, Unavailable

_log = logging.getLogger("lodepool.gateway")

Answer = TypeVar("Answer")

BATCH_ACCOUNTS_MAX = 1_000
"""Accounts that MinerService takes in one BatchGetAccounts."""


class Sources:
    """Read calls to the four services for one coin.

    Every method raises RpcError: NotFound, InvalidArgument, Unavailable (also when the deadline passed) or RpcError
    itself for a failure inside the service.

    Args:
        clients: Channels to the services; connections are made at the first call.
        coin_id: The coin that is asked about.
        timeout_s: The deadline of one call.
    """

    def __init__(self, clients: RpcClients, *, coin_id: str, timeout_s: float) -> None:
        self._coin_id = coin_id
        self._timeout_s = timeout_s
        self._away: set[str] = set()
        self._shares = shares_pb2_grpc.ShareServiceStub(clients.channel("shares"))
        self._miners = miners_pb2_grpc.MinerServiceStub(clients.channel("miners"))
        self._rewards = rewards_pb2_grpc.RewardServiceStub(clients.channel("rewards"))
        self._payouts = payouts_pb2_grpc.PayoutServiceStub(clients.channel("payouts"))
        self._clients = clients

    async def pool_stats(self, *, round_start_height: int) -> shares_pb2.PoolStats:
        """Ask for the pool's hashrates and counts; the round is what lies above the height."""
        request = shares_pb2.GetPoolStatsRequest(coin=self._coin_id, round_start_height=round_start_height)
        return await self._call("shares", self._shares.GetPoolStats, request)

    async def account_stats(self, account: str) -> shares_pb2.AccountStats:
        """Ask for an account's hashrates and counts, with its workers."""
        request = shares_pb2.GetAccountStatsRequest(coin=self._coin_id, account=account)
        return await self._call("shares", self._shares.GetAccountStats, request)

    async def accounts_by_hashrate(self, *, page_size: int, page_token: str) -> shares_pb2.ListAccountsResponse:
        """Ask for a page of accounts, greatest hashrate first."""
        request = shares_pb2.ListAccountsRequest(coin=self._coin_id, page_size=page_size, page_token=page_token)
        return await self._call("shares", self._shares.ListAccounts, request)

    async def history(
        self, window: shares_pb2.HistoryWindow.ValueType, *, account: str = "", worker: str | None = None
    ) -> shares_pb2.HashrateHistory:
        """Ask what was mined over time: by everybody, by an account, or by one of its workers."""
        request = shares_pb2.GetHashrateHistoryRequest(
            coin=self._coin_id, account=account, worker=worker, window=window
        )
        return await self._call("shares", self._shares.GetHashrateHistory, request)

    async def slices(
        self, account: str, *, start_minute: int, end_minute: int, page_size: int, page_token: str
    ) -> shares_pb2.ListSlicesResponse:
        """Ask for a page of an account's slices between two minutes, oldest first."""
        request = shares_pb2.ListSlicesRequest(
            coin=self._coin_id,
            account=account,
            start_minute=start_minute,
            end_minute=end_minute,
            page_size=page_size,
            page_token=page_token,
        )
        return await self._call("shares", self._shares.ListSlices, request)

    async def leaders(self, *, page_size: int) -> shares_pb2.ListLeadersResponse:
        """Ask for the accounts with the most work of the last day."""
        request = shares_pb2.ListLeadersRequest(coin=self._coin_id, page_size=page_size)
        return await self._call("shares", self._shares.ListLeaders, request)

    async def account(self, account: str) -> miners_pb2.Account:
        """Ask for an account's settings and presence."""
        request = miners_pb2.GetAccountRequest(coin=self._coin_id, account=account)
        return await self._call("miners", self._miners.GetAccount, request)

    async def accounts(self, accounts: list[str]) -> miners_pb2.BatchGetAccountsResponse:
        """Ask for the known ones of at most `BATCH_ACCOUNTS_MAX` accounts."""
        request = miners_pb2.BatchGetAccountsRequest(coin=self._coin_id, accounts=accounts)
        return await self._call("miners", self._miners.BatchGetAccounts, request)

    async def change_settings(self, request: miners_pb2.ChangeSettingsRequest) -> miners_pb2.Account:
        """Change an account's settings; the request's coin is filled in."""
        request.coin = self._coin_id
        return await self._call("miners", self._miners.ChangeSettings, request)

    async def workers(self, account: str, *, page_size: int, page_token: str) -> miners_pb2.ListWorkersResponse:
        """Ask for a page of an account's workers, by name."""
        request = miners_pb2.ListWorkersRequest(
            coin=self._coin_id, account=account, page_size=page_size, page_token=page_token
        )
        return await self._call("miners", self._miners.ListWorkers, request)

    async def blocks(
        self, status: rewards_pb2.BlockStatus.ValueType, *, page_size: int, page_token: str, account: str = ""
    ) -> rewards_pb2.ListBlocksResponse:
        """Ask for a page of blocks, newest first; an empty account asks for everybody's."""
        request = rewards_pb2.ListBlocksRequest(
            coin=self._coin_id, status=status, account=account, page_size=page_size, page_token=page_token
        )
        return await self._call("rewards", self._rewards.ListBlocks, request)

    async def block(self, block_hash_hex: str) -> rewards_pb2.Block:
        """Ask for a block with its distribution."""
        request = rewards_pb2.GetBlockRequest(coin=self._coin_id, block_hash_hex=block_hash_hex)
        return await self._call("rewards", self._rewards.GetBlock, request)

    async def balance(self, account: str) -> rewards_pb2.Balance:
        """Ask what an account has."""
        request = rewards_pb2.GetBalanceRequest(coin=self._coin_id, account=account)
        return await self._call("rewards", self._rewards.GetBalance, request)

    async def credits(self, account: str, *, page_size: int, page_token: str) -> rewards_pb2.ListCreditsResponse:
        """Ask for a page of an account's credits, newest first."""
        request = rewards_pb2.ListCreditsRequest(
            coin=self._coin_id, account=account, page_size=page_size, page_token=page_token
        )
        return await self._call("rewards", self._rewards.ListCredits, request)

    async def ledger_totals(self) -> rewards_pb2.LedgerTotals:
        """Ask for the sums over the ledger."""
        request = rewards_pb2.GetLedgerTotalsRequest(coin=self._coin_id)
        return await self._call("rewards", self._rewards.GetLedgerTotals, request)

    async def payouts(self, account: str, *, page_size: int, page_token: str) -> payouts_pb2.ListPayoutsResponse:
        """Ask for a page of payments, newest first; an empty account asks for everybody's."""
        request = payouts_pb2.ListPayoutsRequest(
            coin=self._coin_id, account=account, page_size=page_size, page_token=page_token
        )
        return await self._call("payouts", self._payouts.ListPayouts, request)

    async def payer_status(self) -> payouts_pb2.PayerStatus:
        """Ask what the payer is doing."""
        request = payouts_pb2.GetStatusRequest(coin=self._coin_id)
        return await self._call("payouts", self._payouts.GetStatus, request)

    def stratum_names(self) -> tuple[str, ...]:
        """Return the stratum workers that there are now: instances come and go."""
        return self._clients.members("stratum")

    async def stratum_status(self, name: str) -> stratum_pb2.StratumStatus:
        """Ask a stratum worker how it is doing."""
        stub = stratum_pb2_grpc.StratumServiceStub(self._clients.member_channel("stratum", name))
        return await self._call(name, stub.GetStatus, stratum_pb2.GetStatusRequest())

    async def check(self, service: str) -> None:
        """Return when a service says that it serves."""
        stub = health_pb2_grpc.HealthStub(self._clients.channel(service))
        answer = await self._call(service, stub.Check, health_pb2.HealthCheckRequest())
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise Unavailable("it is stopping")

    async def _call(self, service: str, method: Callable[..., Awaitable[Answer]], request: object) -> Answer:
        """Call a method; that its service went away or came back is logged once, however many readers ask."""
        try:
            answer = await call(method, request, timeout_s=self._timeout_s)
        except Unavailable as error:
            if service not in self._away:
                self._away.add(service)
                log_event(_log, logging.WARNING, "service went away", source=service, error=error.message)
            raise
        except RpcError:
            self._came_back(service)
            raise
        self._came_back(service)
        return answer

    def _came_back(self, service: str) -> None:
        if service in self._away:
            self._away.discard(service)
            log_event(_log, logging.INFO, "service came back", source=service)
