"""One miner's connection: bytes in, events and bytes out.

A request is answered before anything else is sent; difficulty and job follow when the whole of what came is answered.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from fractions import Fraction
from typing import Final, TypeAlias

import msgspec

from coins.coin import Coin
from stratum.errors import ExtranonceExhausted, LineTooLong, ProtocolError
from stratum.jobs.job import Job
from stratum.protocol import methods
from stratum.protocol.difficulty import ShareTarget, ShareTargets
from stratum.protocol.extranonce import EXTRANONCE2_BYTES, ExtranonceSpace
from stratum.protocol.framing import split_lines
from stratum.protocol.messages import (
    CODE_OTHER,
    CODE_UNAUTHORIZED,
    NULL_ID,
    SUBMIT,
    OddSubmit,
    Submit,
    decode_request,
    decode_submit,
    error_line,
    notification_line,
    result_line,
)
from stratum.protocol.user import (
    PasswordOptions,
    Submitter,
    UserRefused,
    agent_difficulty_min,
    clean_user_agent,
    is_small_device,
    parse_password,
    parse_user,
    takes_reconnect,
)
from stratum.protocol.vardiff import BURST_SHARES, Vardiff, VardiffRules

WORKERS_MAX: Final = 1024
"""Authorised workers of one connection; a proxy may have many."""
PAST_TARGETS_MAX: Final = 16
AUTHORIZE_FAILURES_MAX: Final = 20


class State(Enum):
    """How far a connection has come."""

    NEW = auto()
    SUBSCRIBED = auto()
    AUTHORIZED = auto()
    READY = auto()
    CLOSED = auto()


class Step(Enum):
    """What moves a connection on."""

    SUBSCRIBE = auto()
    AUTHORIZE = auto()
    CLOSE = auto()


NEXT_STATE: Final = {
    (State.NEW, Step.SUBSCRIBE): State.SUBSCRIBED,
    (State.NEW, Step.AUTHORIZE): State.AUTHORIZED,
    (State.NEW, Step.CLOSE): State.CLOSED,
    (State.SUBSCRIBED, Step.SUBSCRIBE): State.SUBSCRIBED,
    (State.SUBSCRIBED, Step.AUTHORIZE): State.READY,
    (State.SUBSCRIBED, Step.CLOSE): State.CLOSED,
    (State.AUTHORIZED, Step.SUBSCRIBE): State.READY,
    (State.AUTHORIZED, Step.AUTHORIZE): State.AUTHORIZED,
    (State.AUTHORIZED, Step.CLOSE): State.CLOSED,
    (State.READY, Step.SUBSCRIBE): State.READY,
    (State.READY, Step.AUTHORIZE): State.READY,
    (State.READY, Step.CLOSE): State.CLOSED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribed:
    """The miner has its search space."""

    extranonce1: bytes
    user_agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized:
    """A worker may submit on this connection."""

    submitter: Submitter


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The connection must be closed once `data_to_send` is sent; a ban is for the peer's address."""

    reason: str
    is_ban: bool


Event: TypeAlias = Submit | OddSubmit | Subscribed | Authorized | Closing


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRules:
    """What all sessions of a process have in common; the settings of the same names say more.

    Attributes:
        version: What the pool answers to `client.get_version`.
        active_job: Returns the newest job.
    """

    coin: Coin
    version: str
    targets: ShareTargets
    extranonces: ExtranonceSpace
    active_job: Callable[[], Job | None]
    vardiff: VardiffRules
    version_mask: int
    difficulty_start: Fraction
    difficulty_min: Fraction
    difficulty_max: Fraction | None
    schemes_allowed: tuple[str, ...]
    scheme_default: str
    line_bytes_max: int
    bad_lines_max: int
    idle_timeout_s: float
    unauthorised_timeout_s: float


_NOBODY: Final[dict[str, Submitter]] = {}


class Session:
    """The state of one connection.

    Attributes:
        extranonce1: Its search space; empty before subscribe.
        version_mask: Version bits that were negotiated; 0 for none (S7).
        submitters: Those whose shares are taken, by the user name they authorised with; empty before subscribe.
        target: The share target announced last.
        target_serial: Serial of the first job that target is for.
        user_agent: What the firmware calls itself.

    Args:
        rules: What all sessions have in common.
        now_s: Any clock that does not go back.
        may_authorize: Asked before each new worker.
    """

    __slots__ = (
        "_active_s",
        "_authorize_failures",
        "_bad_lines",
        "_events",
        "_fixed",
        "_floor",
        "_has_data",
        "_is_job_due",
        "_may_authorize",
        "_opened_s",
        "_out",
        "_partial",
        "_past_targets",
        "_rules",
        "_suggested",
        "_vardiff",
        "_wanted",
        "_workers",
        "extranonce1",
        "state",
        "submitters",
        "target",
        "target_serial",
        "user_agent",
        "version_mask",
    )

    def __init__(self, rules: SessionRules, *, now_s: float, may_authorize: Callable[[], bool] = lambda: True) -> None:
        self._rules = rules
        self._may_authorize = may_authorize
        self._opened_s = now_s
        self._active_s = now_s
        self._has_data = False
        self._partial = b""
        self._out = b""
        self._events: list[Event] = []
        self._bad_lines = 0
        self._authorize_failures = 0
        self._is_job_due = False
        self._workers: dict[str, Submitter] = _NOBODY
        self._past_targets: tuple[tuple[int, ShareTarget], ...] = ()
        self._wanted = rules.targets.of_difficulty(rules.difficulty_start)
        self._floor = min(Fraction(1), rules.difficulty_start)
        self._fixed = False
        self._suggested: Fraction | None = None
        self._vardiff = Vardiff(int(now_s * 1000))
        self.state = State.NEW
        self.extranonce1 = b""
        self.version_mask = 0
        self.submitters: dict[str, Submitter] = _NOBODY
        self.target = self._wanted
        self.target_serial = 0
        self.user_agent = ""

    # --- the verbs of a protocol core ---

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer.

        One whole line that is a submit, as nearly always, goes a short way; a property test holds both ways equal.
        """
        self._has_data = True
        if not self._partial and data.find(b"\n") == len(data) - 1 < self._rules.line_bytes_max:
            try:
                submit = decode_submit(data)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if submit.method == SUBMIT and self.state is not State.CLOSED:
                    self._events.append(submit)
                    return
        self._receive_lines(data)

    def _receive_lines(self, data: bytes) -> None:
        if self.is_closed:
            return
        try:
            lines, self._partial = split_lines(self._partial, data, line_bytes_max=self._rules.line_bytes_max)
        except LineTooLong as error:
            self._partial = b""
            self._send(error_line(NULL_ID, error.code, error.text))
            self.close(error.text, is_ban=False)
            return
        for line in lines:
            try:
                submit = decode_submit(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._receive_line(line)
            else:
                if submit.method == SUBMIT:
                    self._events.append(submit)
                else:
                    self._receive_line(line)
            if self.is_closed:
                return
        if self._is_job_due:
            self._send_due_job()

    def receive_eof(self) -> None:
        """Note that the peer has gone."""
        self.close("the miner closed the connection", is_ban=False)

    def events_received(self) -> list[Event]:
        """Return what has happened since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    def data_to_send(self) -> bytes:
        """Return the bytes for the peer since the last call."""
        out, self._out = self._out, b""
        return out

    def tick(self, now_s: float) -> None:
        """Look at time limits and at the difficulty; call every few seconds."""
        if self._has_data:
            self._has_data = False
            self._active_s = now_s
        if self.state is State.CLOSED:
            return
        if not self._workers and now_s - self._opened_s > self._rules.unauthorised_timeout_s:
            self.close("no worker was authorised in time", is_ban=False)
        elif now_s - self._active_s > self._rules.idle_timeout_s:
            self.close("nothing was received for too long", is_ban=False)
        elif self.state is State.READY:
            self._retarget(now_s)

    # --- messages to the miner ---

    def send_job(self, job: Job, *, is_clean: bool) -> None:
        """Send a job, and before it the difficulty when that has changed."""
        line = job.notify_clean_line if is_clean else job.notify_line
        wanted = self._wanted
        if wanted.target < job.network_target:
            wanted = self._rules.targets.of_target(job.network_target)
        if wanted is not self.target or not self.target_serial:
            if self.target_serial:
                self._past_targets = (*self._past_targets, (self.target_serial, self.target))[-PAST_TARGETS_MAX:]
            self.target = wanted
            self.target_serial = job.serial
            line = wanted.line + line
        self._out = self._out + line if self._out else line

    def send_message(self, text: str) -> None:
        """Show a text to the miner's owner (`client.show_message`)."""
        self._send(notification_line("client.show_message", [text]))

    def close(self, reason: str, *, is_ban: bool) -> None:
        """End the session; the shell closes the connection after what is to send."""
        if self.state is State.CLOSED:
            return
        self._step(Step.CLOSE)
        self.submitters = _NOBODY
        if self.extranonce1:
            self._rules.extranonces.release(self.extranonce1)
        self._events.append(Closing(reason=reason, is_ban=is_ban))

    def send_reconnect(self) -> None:
        """Ask the firmware to connect again to the same pool (`client.reconnect`), where it knows how to."""
        if takes_reconnect(self.user_agent):
            self._send(notification_line("client.reconnect", []))

    def use_rules(self, rules: SessionRules) -> None:
        """Go on under other rules; a difficulty that they do not allow changes with the next job.

        Args:
            rules: Of the same process: coin, search space, jobs and share targets stay.
        """
        old, self._rules = self._rules, rules
        if self._floor == old.difficulty_min and is_small_device(self.user_agent):
            self._floor = rules.difficulty_min
        self._want(self._floor if self._fixed else self._wanted.difficulty)

    # --- difficulty ---

    @property
    def is_ready(self) -> bool:
        """Whether jobs go to this miner."""
        return self.state is State.READY

    @property
    def is_closed(self) -> bool:
        """Whether the session is over."""
        return self.state is State.CLOSED

    @property
    def is_retarget_pending(self) -> bool:
        """Whether the difficulty should change and waits for the next job."""
        job = self._rules.active_job()
        if job is None or not self.target_serial or self.state is not State.READY:
            return False
        return self._wanted is not self.target and max(self._wanted.target, job.network_target) != self.target.target

    def target_for(self, job: Job) -> ShareTarget:
        """Return the share target that a share of this job is judged by.

        It is the one announced with the job, or the present one when that is easier (S4).
        """
        if job.serial >= self.target_serial:
            return self.target
        found = self._past_targets[0][1] if self._past_targets else self.target
        for serial, target in self._past_targets:
            if serial > job.serial:
                break
            found = target
        return found if found.target > self.target.target else self.target

    def record_accepted(self, work: int, now_s: float) -> bool:
        """Count an accepted share; return whether the difficulty should change at once."""
        vardiff = self._vardiff
        vardiff.record(work)
        return vardiff.share_count >= BURST_SHARES and self._retarget(now_s)

    def _retarget(self, now_s: float) -> bool:
        if self._fixed or self.is_retarget_pending or not self.target_serial:
            return False
        work = self._vardiff.retarget(int(now_s * 1000), work=self.target.work, rules=self._rules.vardiff)
        if work is None:
            return False
        self._want(self._rules.targets.of_work(work).difficulty)
        return self.is_retarget_pending

    def _want(self, difficulty: Fraction) -> None:
        rules = self._rules
        lowest = max(rules.difficulty_min, self._floor)
        service_min = agent_difficulty_min(self.user_agent, rules.coin.algorithm)
        if service_min is not None:
            lowest = max(lowest, service_min)
        wanted = max(difficulty, lowest)
        if rules.difficulty_max is not None:
            wanted = min(wanted, rules.difficulty_max)
        self._wanted = rules.targets.of_difficulty(wanted)

    def suggest(self, difficulty: Fraction) -> None:
        """Take a miner's wish; the same wish again is a keep-alive and changes nothing."""
        if self._fixed or difficulty == self._suggested:
            return
        self._suggested = difficulty
        self._floor = min(self._floor, difficulty)
        self._want(difficulty)

    def require_difficulty_min(self, difficulty: Fraction) -> None:
        """Never go below a difficulty that the miner has named (BIP 310)."""
        self._floor = difficulty
        self._want(max(difficulty, self._wanted.difficulty))

    # --- requests ---

    def _receive_line(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        try:
            request = decode_request(line)
        except ProtocolError as error:
            self.count_bad_line()
            self._send(error_line(NULL_ID, error.code, error.text))
            return
        if request.method == SUBMIT:
            self._events.append(methods.lenient_submit(request))
        else:
            self._send(methods.answer(self, request))

    def count_bad_line(self) -> None:
        """Count a line that is not stratum; too many end the session with a ban."""
        self._bad_lines += 1
        if self._bad_lines >= self._rules.bad_lines_max:
            self.close(f"sent {self._bad_lines} malformed lines", is_ban=True)

    def subscribe(self, request_id: bytes, *, user_agent: str, wanted_session: str) -> bytes:
        """Give search space and return the answer."""
        self.user_agent = clean_user_agent(user_agent)
        if not self.extranonce1:
            try:
                self.extranonce1 = self._rules.extranonces.take(_session_id_bytes(wanted_session))
            except ExtranonceExhausted:
                self.close("the pool has no search space left", is_ban=False)
                return error_line(request_id, CODE_OTHER, "the pool is full, use another server")
            if is_small_device(self.user_agent):
                self._floor = min(self._floor, self._rules.difficulty_min)
            self._want(self._wanted.difficulty)
        self._step(Step.SUBSCRIBE)
        self._name_agent()
        self.submitters = self._workers
        self._is_job_due = self.state is State.READY
        self._events.append(Subscribed(extranonce1=self.extranonce1, user_agent=self.user_agent))
        session_id = self.extranonce1.hex()
        topics = [["mining.set_difficulty", session_id], ["mining.notify", session_id]]
        return result_line(request_id, [topics, session_id, EXTRANONCE2_BYTES])

    def authorize(self, request_id: bytes, *, user: str, password: str) -> bytes:
        """Admit a worker and return the answer."""
        try:
            account, worker = parse_user(self._rules.coin, user)
            options = parse_password(password)
            scheme = self._scheme(options)
        except UserRefused as refusal:
            return self._refuse_user(request_id, str(refusal))
        if user not in self._workers and len(self._workers) >= WORKERS_MAX:
            return self._refuse_user(request_id, f"more than {WORKERS_MAX} workers on one connection")
        if user not in self._workers and not self._may_authorize():
            return error_line(request_id, CODE_UNAUTHORIZED, "too many workers from your address, try again later")
        submitter = Submitter(account=account, worker=worker, scheme=scheme, user_agent=self.user_agent)
        if self._workers is _NOBODY:
            self._workers = {}
        self._workers[user] = submitter
        if options.difficulty is not None:
            self._floor = options.difficulty
            self._fixed = options.is_fixed
            self._want(options.difficulty)
        was_ready = self.state is State.READY
        self._step(Step.AUTHORIZE)
        if self.state is State.READY:
            self.submitters = self._workers
            self._is_job_due = self._is_job_due or not was_ready
        self._events.append(Authorized(submitter=submitter))
        return result_line(request_id, result=True)

    def configure_version_rolling(self, miner_mask: int) -> int:
        """Return the version bits that both sides allow, 0 for none (S7)."""
        self.version_mask = self._rules.version_mask & miner_mask
        return self.version_mask

    @property
    def pool_version(self) -> str:
        """What the pool calls itself."""
        return self._rules.version

    @property
    def diff1_target(self) -> int:
        """The coin's target of difficulty 1."""
        return self._rules.coin.diff1_target

    def _scheme(self, options: PasswordOptions) -> str:
        scheme = options.scheme or self._rules.scheme_default
        if scheme not in self._rules.schemes_allowed:
            allowed = ", ".join(self._rules.schemes_allowed)
            raise UserRefused(f"the reward scheme {scheme[:16]!r} is not offered here, expected one of {allowed}")
        return scheme

    def _refuse_user(self, request_id: bytes, reason: str) -> bytes:
        self._authorize_failures += 1
        if self._authorize_failures >= AUTHORIZE_FAILURES_MAX:
            self.close("failed to authorise too often", is_ban=True)
        return error_line(request_id, CODE_UNAUTHORIZED, reason)

    def _name_agent(self) -> None:
        """Give workers that were authorised before subscribe the user agent."""
        for user, worker in self._workers.items():
            if worker.user_agent != self.user_agent:
                self._workers[user] = Submitter(
                    account=worker.account, worker=worker.worker, scheme=worker.scheme, user_agent=self.user_agent
                )

    def _send_due_job(self) -> None:
        self._is_job_due = False
        job = self._rules.active_job()
        if job is None:
            return
        if self.target_serial and not self.is_retarget_pending:
            self._send(self.target.line)  # it has subscribed again and may have forgotten
        self.send_job(job, is_clean=True)

    def _send(self, line: bytes) -> None:
        self._out += line

    def _step(self, step: Step) -> None:
        self.state = NEXT_STATE[self.state, step]


def _session_id_bytes(text: str) -> bytes | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
