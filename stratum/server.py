"""Move bytes between sockets and sessions: one asyncio.Protocol a connection, one timer for all."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, cast

from runtime.logs import log_event
from stratum.errors import ProtocolError
from stratum.gate import LISTED, Gate, plain_address
from stratum.intake import Intake, Origin
from stratum.jobs.job import Job
from stratum.jobs.store import JobStore
from stratum.metrics import StratumMetrics
from stratum.protocol.messages import OddSubmit, Submit, notification_line
from stratum.protocol.proxy import parse_proxy_header
from stratum.protocol.session import Closing, Event, Session, SessionRules

TICKS_PER_S: Final = 10
BUCKETS: Final = 40
"""Every connection is looked at once in BUCKETS / TICKS_PER_S seconds, 4 s."""
REISSUE_INTERVAL_S: Final = 5.0
"""A job made only to announce difficulties comes this often at most: past jobs are few (S5)."""
RULES_AT_ONCE: Final = 500
"""Connections that get new rules in one turn of the event loop."""
SEND_BUFFER_BYTES_MAX: Final = 64 * 1024
"""More unread answers than this and we stop reading from the peer."""
SEND_STALLED_S_MAX: Final = 30.0
PROXY_HEADER_S_MAX: Final = 10.0

_log = logging.getLogger("lodepool.stratum")


class Hub:
    """All connections of a process.

    Attributes:
        rules: What all sessions have in common.
        connections: Those that are open.

    Args:
        rules: As above.
        gate: Who may come in.
        jobs: The jobs.
        metrics: What to count.
        proxy_sources: Networks whose PROXY header is believed.
        is_held: Returns whether our piece of the search space is still ours.
    """

    def __init__(
        self,
        *,
        rules: SessionRules,
        gate: Gate,
        jobs: JobStore,
        metrics: StratumMetrics,
        proxy_sources: tuple[IPv4Network | IPv6Network, ...],
        is_held: Callable[[], bool],
    ) -> None:
        self.rules = rules
        self.gate = gate
        self.metrics = metrics
        self.connections: set[Connection] = set()
        self._jobs = jobs
        self._proxy_sources = proxy_sources
        self._buckets: list[set[Connection]] = [set() for _ in range(BUCKETS)]
        self._next_bucket = 0
        self._tick_bucket = 0
        self._retargets: set[Connection] = set()
        self._reissued_s = 0.0
        self._intake: Intake | None = None
        self._is_held = is_held
        self._unruled: list[Connection] = []
        self._is_ruling = False
        self._rules_job: Job | None = None

    @property
    def intake(self) -> Intake:
        """The way of the shares; set once before the first connection."""
        assert self._intake is not None
        return self._intake

    @intake.setter
    def intake(self, intake: Intake) -> None:
        self._intake = intake

    def factory(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return Connection(self)

    def is_proxy(self, address: str) -> bool:
        """Return whether a peer speaks for others."""
        if not self._proxy_sources:
            return False
        parsed = ip_address(address.partition("%")[0])
        return any(parsed in network for network in self._proxy_sources)

    def add(self, connection: "Connection") -> int:
        """Take a connection in; return its bucket of the timer."""
        self.metrics.connections += 1
        self.connections.add(connection)
        self._next_bucket = (self._next_bucket + 1) % BUCKETS
        self._buckets[self._next_bucket].add(connection)
        return self._next_bucket

    def remove(self, connection: "Connection", bucket: int) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        self._buckets[bucket].discard(connection)
        self._retargets.discard(connection)

    def broadcast(self, job: Job, *, is_clean: bool) -> None:
        """Send a job to all miners; none when the search space it is for is not ours any more."""
        if not self._is_held():
            return
        start_s = time.monotonic()
        self.metrics.jobs += 1
        self._retargets.clear()
        for connection in self.connections:
            session = connection.session
            if session.is_ready:
                session.send_job(job, is_clean=is_clean)
                connection.transport.write(session.data_to_send())
        self.metrics.notify_s.observe(time.monotonic() - start_s)

    def use_rules(self, rules: SessionRules) -> None:
        """Put rules and the gate's list into force: at once for new connections, in batches for those that are open.

        A difficulty that must change is announced at once, with one job for all whose difficulty does.
        """
        self.rules = rules
        self._rules_job = None
        self._unruled = list(self.connections)
        if not self._is_ruling:
            self._is_ruling = True
            asyncio.get_running_loop().call_soon(self._rule)

    def _rule(self) -> None:
        batch, self._unruled = self._unruled[:RULES_AT_ONCE], self._unruled[RULES_AT_ONCE:]
        self._is_ruling = bool(self._unruled)
        if self._is_ruling:
            asyncio.get_running_loop().call_soon(self._rule)
        waiting = [connection for connection in batch if connection.use_rules(self.rules)]
        if not waiting or not self._is_held():
            return
        if self._rules_job is None or self._rules_job is not self._jobs.active:
            self._rules_job = self._jobs.reissue()
        self._announce(self._rules_job, waiting)

    def on_retarget(self, origin: Origin) -> None:
        """Note that a connection waits for another difficulty."""
        self._retargets.add(cast("Connection", origin))

    def tick(self, now_s: float) -> None:
        """Look at one bucket of connections; announce difficulties when some wait. Call TICKS_PER_S times a second."""
        self._tick_bucket = (self._tick_bucket + 1) % BUCKETS
        for connection in tuple(self._buckets[self._tick_bucket]):
            connection.tick(now_s)
            if connection.session.is_retarget_pending:
                self._retargets.add(connection)
        if self._retargets and now_s - self._reissued_s >= REISSUE_INTERVAL_S:
            self._reissued_s = now_s
            waiting, self._retargets = self._retargets, set()
            if self._is_held():
                self._announce(self._jobs.reissue(), waiting)

    def pause_all(self) -> None:
        """Read nothing more: what was received is answered, what was not goes to the next process."""
        for connection in self.connections:
            if not connection.transport.is_closing():
                connection.transport.pause_reading()

    def close_all(self, reason: str) -> None:
        """Tell every miner why, and close."""
        for connection in tuple(self.connections):
            connection.close(reason, is_back_wanted=True)

    def _announce(self, job: Job | None, waiting: Iterable["Connection"]) -> None:
        if job is None:
            return
        for connection in waiting:
            session = connection.session
            if session.is_ready:
                session.send_job(job, is_clean=False)
                connection.transport.write(session.data_to_send())


class _NoTransport(asyncio.Transport):
    """Stands in for a transport that is gone: late answers fall silently."""

    def write(self, data: object) -> None:
        """Drop."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing."""


_NO_TRANSPORT: Final = _NoTransport()


class Connection(asyncio.Protocol):
    """One miner's connection.

    Attributes:
        session: Its state.
        transport: Its socket.
    """

    __slots__ = ("_address", "_bucket", "_hub", "_intake", "_is_closing", "_paused_s", "session", "transport")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._intake = hub.intake
        self._address = ""
        self._bucket = -1
        self._paused_s = 0.0
        self._is_closing = False
        self.transport: asyncio.Transport = _NO_TRANSPORT
        self.session: Session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the peer in, or hear first for whom it speaks."""
        peer = transport.get_extra_info("peername")
        address = plain_address(str(peer[0])) if peer else ""
        socket_transport = cast("asyncio.Transport", transport)
        if address and self._hub.is_proxy(address):
            greeting = ProxyGreeting(self, address)
            socket_transport.set_protocol(greeting)
            greeting.connection_made(transport)
        else:
            self.begin(socket_transport, address)

    def begin(self, transport: asyncio.Transport, address: str) -> None:
        """Start the session of a peer, unless the gate is closed to it."""
        now_s = time.monotonic()
        gate = self._hub.gate
        self.session = Session(self._hub.rules, now_s=now_s, may_authorize=partial(_may_authorize, gate, address))
        refusal = gate.enter(address, now_s)
        if refusal:
            self._hub.metrics.connections_refused += 1
            transport.write(notification_line("client.show_message", [refusal]))
            transport.close()
            self._is_closing = True
            return
        transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES_MAX)
        self._address = address
        self.transport = transport
        self._bucket = self._hub.add(self)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the session and act on what it says."""
        session = self.session
        if self._is_closing:
            return
        session.receive_data(data)
        for event in session.events_received():
            if isinstance(event, Submit):
                self._intake.submit(self, event)
            else:
                self._act(event)
        out = session.data_to_send()
        if out:
            self.transport.write(out)
        if self._is_closing:
            self._finish()

    def reply(self, data: bytes) -> None:
        """Send answers to shares."""
        self.transport.write(data)

    def eof_received(self) -> bool:
        """Close our side as well."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection."""
        self.transport = _NO_TRANSPORT
        if self._bucket < 0:
            return
        self.session.receive_eof()
        self.session.events_received()
        self._hub.remove(self, self._bucket)
        self._hub.gate.leave(self._address)
        self._bucket = -1

    def pause_writing(self) -> None:
        """Read nothing from a peer that does not read."""
        self._paused_s = time.monotonic()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        self._paused_s = 0.0
        self.transport.resume_reading()

    def tick(self, now_s: float) -> None:
        """Look at limits of time."""
        if self._is_closing or (self._paused_s and now_s - self._paused_s > SEND_STALLED_S_MAX):
            self.transport.abort()
            return
        self.session.tick(now_s)
        for event in self.session.events_received():
            self._act(event)
        if self._is_closing:
            self._finish()

    def use_rules(self, rules: SessionRules) -> bool:
        """Go on under other rules; return whether the difficulty waits for a job."""
        if self._is_closing:
            return False
        if self._hub.gate.is_listed(self._address):
            log_event(_log, logging.INFO, "connection closed", address=self._address, reason=LISTED)
            self.close(LISTED)
            return False
        self.session.use_rules(rules)
        return self.session.is_retarget_pending

    def close(self, reason: str, *, is_back_wanted: bool = False) -> None:
        """Tell the miner why, and close once that is sent.

        Args:
            reason: For the miner's owner.
            is_back_wanted: Whether the firmware is asked to connect again at once.
        """
        self.session.send_message(reason)
        if is_back_wanted:
            self.session.send_reconnect()
        self.session.close(reason, is_ban=False)
        self._is_closing = True
        self.transport.write(self.session.data_to_send())
        self._finish()

    def _act(self, event: Event) -> None:
        if isinstance(event, Closing):
            self._is_closing = True
            level = logging.WARNING if event.is_ban else logging.DEBUG
            log_event(_log, level, "connection closed", address=self._address, reason=event.reason)
            if event.is_ban:
                self._hub.metrics.bans += 1
                self._hub.gate.ban(self._address, event.reason, time.monotonic())
        elif isinstance(event, OddSubmit | Submit):
            self._intake.submit(self, event)
        else:
            log_event(_log, logging.DEBUG, type(event).__name__.lower(), address=self._address)

    def _finish(self) -> None:
        """Close after the answers of this turn."""
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, self.transport.close)


def _may_authorize(gate: Gate, address: str) -> bool:
    return gate.authorise(address, time.monotonic())


class ProxyGreeting(asyncio.Protocol):
    """Reads a load balancer's header, then gives the connection to whom it belongs.

    Args:
        connection: Takes over.
        address: The balancer's own address.
    """

    def __init__(self, connection: Connection, address: str) -> None:
        self._connection = connection
        self._address = address
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the header, for a while."""
        self._transport = cast("asyncio.Transport", transport)
        self._timeout = asyncio.get_running_loop().call_later(PROXY_HEADER_S_MAX, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Collect the header."""
        assert self._transport is not None
        self._buffer += data
        try:
            header = parse_proxy_header(self._buffer)
        except ProtocolError as error:
            log_event(_log, logging.WARNING, "proxy header missing", address=self._address, reason=error.text)
            self._transport.abort()
            return
        if header is None:
            return
        self._stop_timer()
        client, rest = header
        self._transport.set_protocol(self._connection)
        self._connection.begin(self._transport, plain_address(client or self._address))
        if rest:
            self._connection.data_received(rest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Stop waiting."""
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()


async def run_ticks(hub: Hub, *, now_s: Callable[[], float]) -> None:
    """Tick until cancelled."""
    while True:
        await asyncio.sleep(1 / TICKS_PER_S)
        hub.tick(now_s())
