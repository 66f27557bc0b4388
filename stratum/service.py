"""Answer gRPC questions about one worker process."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from proto.lodepool.stratum.v1 import stratum_pb2, stratum_pb2_grpc
from runtime.rpc.access import OPERATOR, Access
from stratum.errors import Outcome

if TYPE_CHECKING:
    import grpc

    from nodes.interface import NodeHealth
    from stratum.intake import Intake
    from stratum.jobs.store import JobStore
    from stratum.metrics import StratumMetrics

SERVICE = "stratum"
FULL_NAME = "lodepool.stratum.v1.StratumService"
ACCESS = Access(readers=frozenset({"gateway", OPERATOR}), writers=frozenset())


class StratumService(stratum_pb2_grpc.StratumServiceServicer):
    """Tells how the process is doing.

    Args:
        instance: This life of the process.
        coin_id: The coin.
        jobs: The jobs.
        intake: The way of the shares.
        metrics: The counters.
        session_count: Returns how many connections are open.
        journal_bytes: Returns how much of the journal is not shipped.
        health: Returns the nodes as last seen.
    """

    def __init__(
        self,
        *,
        instance: str,
        coin_id: str,
        jobs: "JobStore",
        intake: "Intake",
        metrics: "StratumMetrics",
        session_count: Callable[[], int],
        journal_bytes: Callable[[], int],
        health: "Callable[[], tuple[NodeHealth, ...]]",
    ) -> None:
        self._instance = instance
        self._coin_id = coin_id
        self._jobs = jobs
        self._intake = intake
        self._metrics = metrics
        self._session_count = session_count
        self._journal_bytes = journal_bytes
        self._health = health

    async def GetStatus(  # noqa: N802 - the name in the contract
        self,
        request: stratum_pb2.GetStatusRequest,  # noqa: ARG002 - gRPC's signature
        context: "grpc.aio.ServicerContext[stratum_pb2.GetStatusRequest, stratum_pb2.StratumStatus]",  # noqa: ARG002
    ) -> stratum_pb2.StratumStatus:
        """Return a snapshot."""
        shares = self._metrics.shares
        job = self._jobs.active
        return stratum_pb2.StratumStatus(
            instance=self._instance,
            coin=self._coin_id,
            pid=os.getpid(),
            session_count=self._session_count(),
            height=job.height if job else 0,
            shares_accepted=shares[Outcome.ACCEPTED],
            shares_stale=shares[Outcome.STALE],
            shares_duplicate=shares[Outcome.DUPLICATE],
            shares_low_difficulty=shares[Outcome.LOW_DIFFICULTY],
            shares_invalid=shares[Outcome.INVALID],
            blocks_found=self._metrics.blocks_found,
            journal_bytes=self._journal_bytes(),
            refusing_reason=self._intake.refusing_reason,
            nodes=[
                stratum_pb2.NodeHealth(
                    name=node.name, is_up=node.is_up, height=max(node.height, 0), error=node.last_error
                )
                for node in self._health()
            ],
        )
