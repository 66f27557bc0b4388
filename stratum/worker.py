"""Run one worker process: nodes in, jobs out, shares in, journal and blocks out."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from ipaddress import ip_network
from typing import Final, TypedDict

from prometheus_client import Metric

from coins.bitcoin.address import decode
from nodes.errors import NoHealthyNode
from nodes.group import NodeGroup
from nodes.interface import BitcoinNode
from proto.lodepool.events.v1 import events_pb2
from proto.lodepool.stratum.v1 import stratum_pb2_grpc
from runtime.live import Live
from runtime.logs import log_event
from runtime.process import keep_running
from runtime.serving import RpcService
from stratum import blocks
from stratum.backlog import Backlog
from stratum.config import ProcessSettings, StratumSettings
from stratum.errors import JournalUnavailable, PoolCannotStart, PrefixLost
from stratum.gate import Gate
from stratum.intake import Intake
from stratum.jobs.job import JobRules
from stratum.jobs.store import JobStore
from stratum.journal import JournalWriter, journal_dir
from stratum.lease import Lease
from stratum.metrics import StratumMetrics, WorkerReadings, worker_families
from stratum.platform import StratumPlatform
from stratum.protocol.difficulty import ShareTargets
from stratum.protocol.extranonce import EXTRANONCE1_BYTES, EXTRANONCE2_BYTES, ExtranonceSpace
from stratum.protocol.session import SessionRules
from stratum.protocol.vardiff import VardiffRules
from stratum.server import Hub, run_ticks
from stratum.service import ACCESS, FULL_NAME, SERVICE, StratumService
from stratum.shipper import Place, read_place
from stratum.supervisor import worker_name
from stratum.traces import share_traces
from stratum.troubles import Troubles

VERSION: Final = "Lodepool/0.1.0"
BACKLOG: Final = 4096
WATERMARK_INTERVAL_S: Final = 1.0
RESUBMIT_DELAY_S_MIN: Final = 1.0
RESUBMIT_DELAY_S_MAX: Final = 60.0
DRAIN_S_MAX: Final = 5.0
BLOCK_WAIT_S: Final = 2.0
"""What is not submitted by then is submitted by the next process, from the disk."""
FILES_RESERVED: Final = 256
"""Descriptors kept for nodes, journal and gRPC."""

_log = logging.getLogger("lodepool.stratum")


class Worker:
    """One worker process of the miners' port.

    Attributes:
        instance: This life of the process.
        port: The port it listens on, once `start` has returned.
        metrics: Its counters.

    Args:
        settings: Coin, address, nodes and files.
        live: The section [stratum].
        platform: Surroundings.
        lease: Its piece of the search space.
        slot: Number of the worker on this host, from 0.
        nodes: The coin's nodes in the operator's order.
    """

    def __init__(
        self,
        settings: ProcessSettings,
        live: Live[StratumSettings],
        platform: StratumPlatform,
        *,
        lease: Lease,
        slot: int,
        nodes: Sequence[BitcoinNode],
    ) -> None:
        stratum = live.value
        self._settings = settings
        self._live = live
        self._platform = platform
        self._lease = lease
        self._slot = slot
        self._clock = platform.clock
        self.metrics = StratumMetrics()
        self.instance = lease.instance
        self.group = NodeGroup(nodes, coin=settings.coin, clock=self._clock, refresh_s=stratum.job_refresh_s)
        self.jobs = JobStore(_job_rules(settings, ntime_ahead_s=stratum.ntime_ahead_s))
        extranonces = ExtranonceSpace(lease.prefix, is_held=self._is_held)
        self.hub = Hub(
            rules=_session_rules(settings, stratum, extranonces, self.jobs),
            gate=Gate(
                sessions_max=self._raise_file_limit(),
                sessions_per_address_max=stratum.sessions_per_address_max,
                ban_s=stratum.ban_s,
                bans=stratum.bans,
            ),
            jobs=self.jobs,
            metrics=self.metrics,
            proxy_sources=tuple(ip_network(source, strict=False) for source in stratum.proxy_sources),
            is_held=self._is_held,
        )
        self.journal = JournalWriter(
            journal_dir(settings.data_dir) / settings.coin.coin_id / self.instance,
            segment_bytes_max=stratum.journal_segment_bytes,
        )
        self._troubles = Troubles(coin_id=settings.coin.coin_id, instance=self.instance)
        self._journal_bytes = 0
        self._backlog = Backlog()
        self._threads = stratum.verify_threads or os.cpu_count() or 1
        self._hash_pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
        self._disk_pool = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._server: asyncio.Server | None = None
        self._block_tasks: set[asyncio.Task[None]] = set()
        self.intake: Intake
        self.port = 0

    async def run(self) -> None:
        """Serve until cancelled, then answer what was taken and close.

        Raises:
            UserError: The pool must not start: the address is not the nodes', the port or a file cannot be used.
            PrefixLost: Another process may have our piece of the search space (in an exception group).
        """
        self._build_intake()
        self._platform.telemetry.register(self._families)
        try:
            await self._check_pool_address()
            async with self._platform.serve(SERVICE, [self._rpc_service()], access=ACCESS):
                try:
                    await self._serve_miners()
                finally:
                    await self._close()
        finally:
            await self._let_go()

    async def _serve_miners(self) -> None:
        forget = self._live.on_change(self._use_settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._until_lost(), name="prefix")
                for name, work in (
                    ("nodes", self.group.run),
                    ("jobs", self._follow_templates),
                    ("ticks", self._ticks),
                    ("journal sync", self._sync_journal),
                    ("watermarks", self._watermarks),
                ):
                    tasks.create_task(keep_running(name, work, clock=self._clock), name=name)
                await self._listen()
                self._resubmit_blocks()
                self._platform.ready(worker_name(self._slot))
                log_event(_log, logging.INFO, "worker started", instance=self.instance, port=self.port)
        finally:
            forget()

    # --- start and stop ---

    def _build_intake(self) -> None:
        coin = self._settings.coin
        self.intake = Intake(
            journal=self.journal,
            jobs=self.jobs,
            coin_id=coin.coin_id,
            instance=self.instance,
            algorithm=coin.algorithm,
            executor=self._hash_pool,
            threads=self._threads,
            metrics=self.metrics,
            on_found=self._on_found,
            on_retarget=self.hub.on_retarget,
            is_held=self._is_held,
            traces=share_traces(self._platform.telemetry),
        )
        self.hub.intake = self.intake

    def _rpc_service(self) -> RpcService:
        service = StratumService(
            instance=self.instance,
            coin_id=self._settings.coin.coin_id,
            jobs=self.jobs,
            intake=self.intake,
            metrics=self.metrics,
            session_count=lambda: len(self.hub.connections),
            journal_bytes=lambda: self._journal_bytes,
            health=lambda: self.group.health,
        )
        add = stratum_pb2_grpc.add_StratumServiceServicer_to_server
        return add, service, FULL_NAME

    async def _check_pool_address(self) -> None:
        """Refuse to start on an address that the nodes read differently (S6)."""
        try:
            await self.group.verify_pool_address(self._settings.coin, self._settings.pool.address)
        except NoHealthyNode as error:
            # Miners are let in all the same; each node's answer is checked before it is used.
            log_event(_log, logging.ERROR, "no node answers yet", reason=str(error))

    def _raise_file_limit(self) -> int:
        """Allow as many open files as the system lets us; return how many connections that makes."""
        _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
        wanted = self._live.value.sessions_max
        if highest == resource.RLIM_INFINITY or highest - FILES_RESERVED >= wanted:
            return wanted
        allowed = max(highest - FILES_RESERVED, 1)
        log_event(_log, logging.WARNING, "connections limited by open files", sessions_max=wanted, allowed=allowed)
        return allowed

    async def _listen(self) -> None:
        stratum = self._live.value
        family = socket.AF_INET6 if ":" in stratum.host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.bind((stratum.host, stratum.port))
            listener.setblocking(False)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self.hub.factory, sock=listener, backlog=BACKLOG)
        except OSError as error:
            listener.close()
            raise PoolCannotStart(
                f"Miners' port {stratum.host}:{stratum.port} cannot be used: {error.strerror}.",
                "another process may use it; set stratum.port to a free port",
            ) from error
        self.port = int(listener.getsockname()[1])

    async def _close(self) -> None:
        """Stop accepting, drain, flush, close the connections.

        Connections whose handshake is over when the port closes, but that were not accepted, are reset by the kernel
        (unless net.ipv4.tcp_migrate_req is 1 and another process listens on the port). One turn of the event loop
        accepts all there are, so that these are at most those of the last microseconds.
        """
        await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        self.hub.pause_all()
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                await self.intake.drain()
                if self._block_tasks:
                    await asyncio.wait(self._block_tasks, timeout=BLOCK_WAIT_S)
        except TimeoutError:
            log_event(_log, logging.WARNING, "shares were not answered", share_count=self.intake.waiting_count)
        self.hub.close_all("the pool restarts, reconnect")
        await asyncio.sleep(0)

    async def _let_go(self) -> None:
        """Stop what is left, and leave the journal to the shipper."""
        for task in self._block_tasks:
            task.cancel()
        await asyncio.gather(*self._block_tasks, return_exceptions=True)
        await self.group.close()
        self._hash_pool.shutdown(wait=True, cancel_futures=True)
        self._disk_pool.shutdown(wait=True)
        try:
            self.journal.close()
        except JournalUnavailable as error:
            log_event(_log, logging.ERROR, "journal could not be synced", reason=error.reason)
        log_event(_log, logging.INFO, "worker stopped", instance=self.instance, last_seq=self.intake.last_seq)

    # --- search space ---

    def _is_held(self) -> bool:
        return self._lease.is_held

    async def _until_lost(self) -> None:
        """Raise when the prefix may be another's: the tasks beside this one are cancelled, and the process ends."""
        await self._lease.wait_lost()
        log_event(
            _log,
            logging.ERROR,
            "prefix lost, the process ends to start anew with another",
            prefix=self._lease.prefix,
            instance=self.instance,
        )
        raise PrefixLost(self._lease.prefix)

    # --- settings and metrics ---

    def _use_settings(self, stratum: StratumSettings) -> None:
        """Put changed settings into force without dropping a connection."""
        self.hub.gate.set_bans(ban_s=stratum.ban_s, bans=stratum.bans)
        self.hub.use_rules(replace(self.hub.rules, **_live_rules(stratum)))
        log_event(_log, logging.INFO, "settings changed", session_count=len(self.hub.connections))

    def _families(self) -> Iterable[Metric]:
        job = self.jobs.active
        readings = WorkerReadings(
            session_count=len(self.hub.connections),
            last_seq=self.intake.last_seq,
            height=job.height if job else 0,
            journal_bytes=self._journal_bytes,
            journal_age_s=self._backlog.age_s(self._clock.monotonic_s()),
            is_refusing=bool(self.intake.refusing_reason),
            prefix_left_s=self._lease.left_s,
            nodes={node.name: node.is_up for node in self.group.health},
        )
        return worker_families(self.metrics, readings)

    # --- tasks ---

    async def _follow_templates(self) -> None:
        async for update in self.group.subscribe():
            job, is_new_tip = self.jobs.add(update.template)
            self.hub.broadcast(job, is_clean=is_new_tip)
            self.intake.flush()
            self.intake.watermark()
            level = logging.INFO if is_new_tip else logging.DEBUG
            log_event(_log, level, "job sent", height=job.height, job_id=job.job_id, node=update.node_name)

    async def _ticks(self) -> None:
        await run_ticks(self.hub, now_s=self._clock.monotonic_s)

    async def _sync_journal(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._clock.sleep(self._live.value.journal_fsync_ms / 1000)
            try:
                await loop.run_in_executor(self._disk_pool, self.journal.sync)
            except JournalUnavailable as error:
                self.intake.failed(error.reason)

    async def _watermarks(self) -> None:
        loop = asyncio.get_running_loop()
        last_seq = -1
        while True:
            await self._clock.sleep(WATERMARK_INTERVAL_S)
            end = self.journal.end
            place, self._journal_bytes = await loop.run_in_executor(self._disk_pool, self._read_journal)
            self._backlog.written(end, self._clock.monotonic_s())
            self._backlog.shipped((place.segment, place.position))
            self.intake.limit(journal_bytes=self._journal_bytes, journal_bytes_max=self._live.value.journal_bytes_max)
            if self.intake.last_seq == last_seq:
                self.intake.flush()
                self.intake.watermark()
            last_seq = self.intake.last_seq
            self._tell_troubles()

    def _tell_troubles(self) -> None:
        """Write what operators must know into the journal; what cannot be written now is written later."""
        self._troubles.look(self.group.health, refusing_reason=self.intake.refusing_reason, now_ms=self._clock.now_ms())
        told = [events_pb2.JournalEntry(notice=notice).SerializeToString() for notice in self._troubles.waiting]
        if told and self.intake.note(told):
            self._troubles.written()

    def _read_journal(self) -> tuple[Place, int]:
        return read_place(self.journal.folder), self.journal.bytes_on_disk()

    # --- blocks ---

    def _on_found(self, found: events_pb2.BlockFound) -> Callable[[], None]:
        """Put a block on disk, begin to submit it, and only then go on (S8, D2)."""
        stored: blocks.StoredBlock | None = None
        try:
            stored = blocks.store(self._settings.data_dir, found)
        except OSError as error:
            log_event(
                _log,
                logging.ERROR,
                "block could not be written, submitted all the same",
                block_hash=found.block_hash_hex,
                height=found.height,
                reason=str(error),
            )
        log_event(
            _log,
            logging.INFO,
            "block found",
            height=found.height,
            block_hash=found.block_hash_hex,
            account=found.account,
            worker=found.worker,
        )
        return self._submit_in_background(stored, found)

    def _submit_in_background(
        self, stored: blocks.StoredBlock | None, found: events_pb2.BlockFound
    ) -> Callable[[], None]:
        recorded = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._submit_block(stored, found, recorded))
        self._block_tasks.add(task)
        task.add_done_callback(self._block_tasks.discard)
        return recorded.set

    async def _submit_block(
        self, stored: blocks.StoredBlock | None, found: events_pb2.BlockFound, recorded: asyncio.Event
    ) -> None:
        """Hand a block to the nodes until one has it or all refuse it."""
        delay_s = RESUBMIT_DELAY_S_MIN
        while True:
            outcomes = await self.group.submit_block(found.block)
            answers = blocks.answers(outcomes)
            is_definite = blocks.is_definite(outcomes)
            log_event(
                _log,
                logging.INFO if is_definite else logging.WARNING,
                "block submitted",
                height=found.height,
                block_hash=found.block_hash_hex,
                **answers,
            )
            if is_definite:
                break
            await self._clock.sleep(delay_s)
            delay_s = min(delay_s * 2, RESUBMIT_DELAY_S_MAX)
        await recorded.wait()
        if stored is not None:
            blocks.mark_done(stored, outcomes)

    def _resubmit_blocks(self) -> None:
        """Go on with blocks that an earlier process left: nodes and consumers take a block twice for once."""
        for stored in blocks.list_blocks(self._settings.data_dir):
            if stored.is_done:
                continue
            found = stored.read_found()
            if found is None or found.coin != self._settings.coin.coin_id:
                log_event(_log, logging.WARNING, "block on disk passed over", path=str(stored.path))
                continue
            log_event(_log, logging.WARNING, "block submitted again", height=found.height, path=str(stored.path))
            payload = events_pb2.JournalEntry(block=found).SerializeToString()
            self.intake.add_find(payload, self._submit_in_background(stored, found))


def _job_rules(settings: ProcessSettings, *, ntime_ahead_s: int) -> JobRules:
    return JobRules(
        coin=settings.coin,
        payout_script=decode(settings.coin, settings.pool.address).script,
        signature=settings.pool.signature.encode("ascii"),
        extranonce1_bytes=EXTRANONCE1_BYTES,
        extranonce2_bytes=EXTRANONCE2_BYTES,
        ntime_ahead_s=ntime_ahead_s,
    )


class _LiveRules(TypedDict):
    vardiff: VardiffRules
    difficulty_start: Fraction
    difficulty_min: Fraction
    difficulty_max: Fraction | None
    bad_lines_max: int


def _live_rules(stratum: StratumSettings) -> _LiveRules:
    """Return the rules of sessions that may change while they last."""
    highest = stratum.difficulty_max
    return _LiveRules(
        vardiff=VardiffRules(
            share_interval_ms=int(stratum.share_interval_s * 1000),
            retarget_interval_ms=int(stratum.retarget_interval_s * 1000),
        ),
        difficulty_start=Fraction(repr(stratum.difficulty_start)),
        difficulty_min=Fraction(repr(stratum.difficulty_min)),
        difficulty_max=None if highest is None else Fraction(repr(highest)),
        bad_lines_max=stratum.bad_lines_max,
    )


def _session_rules(
    settings: ProcessSettings, stratum: StratumSettings, extranonces: ExtranonceSpace, jobs: JobStore
) -> SessionRules:
    coin = settings.coin
    mask = coin.version_mask_default if stratum.version_mask is None else int(stratum.version_mask, 16)
    return SessionRules(
        coin=coin,
        version=VERSION,
        targets=ShareTargets(coin.diff1_target),
        extranonces=extranonces,
        active_job=lambda: jobs.active,
        version_mask=mask,
        schemes_allowed=stratum.schemes_allowed,
        scheme_default=stratum.scheme_default,
        line_bytes_max=stratum.line_bytes_max,
        idle_timeout_s=stratum.idle_timeout_s,
        unauthorised_timeout_s=stratum.unauthorised_timeout_s,
        **_live_rules(stratum),
    )
