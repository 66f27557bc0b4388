"""Name what can be wrong with a share, a line, a journal and a worker process."""

from enum import Enum, IntEnum

from runtime.errors import UserError


class Outcome(IntEnum):
    """How a share was decided; the numbers of `lodepool.events.v1.ShareOutcome`."""

    ACCEPTED = 1
    STALE = 2
    DUPLICATE = 3
    LOW_DIFFICULTY = 4
    INVALID = 5


class RejectReason(Enum):
    """Why a share was refused; when several apply, the first in this order decides.

    Each carries the wire's code and text, and the outcome it counts as (None: it is nobody's share).
    """

    NOT_SUBSCRIBED = (25, "not subscribed: send mining.subscribe first", None)
    UNAUTHORIZED = (24, "unauthorized worker: authorize this user name first", None)
    BAD_FIELDS = (20, "expected user, job id, extranonce2, ntime, nonce as texts", Outcome.INVALID)
    UNKNOWN_JOB = (21, "job not found: it is older than the pool remembers, or another pool's", Outcome.STALE)
    BAD_EXTRANONCE2 = (20, "extranonce2 must be hex of the size given at subscribe", Outcome.INVALID)
    BAD_NTIME = (20, "ntime must be 8 hex digits", Outcome.INVALID)
    BAD_NONCE = (20, "nonce must be 1 to 8 hex digits", Outcome.INVALID)
    BAD_VERSION_BITS = (20, "version bits are malformed or outside the negotiated mask", Outcome.INVALID)
    NTIME_OUT_OF_RANGE = (20, "ntime is out of range for this job", Outcome.INVALID)
    STALE = (21, "stale: a new block was found before this share came", Outcome.STALE)
    DUPLICATE = (22, "duplicate share", Outcome.DUPLICATE)
    LOW_DIFFICULTY = (23, "low difficulty share", Outcome.LOW_DIFFICULTY)
    NOT_RECORDED = (20, "pool cannot record shares", None)
    OVERLOADED = (20, "pool is overloaded, share was not looked at", None)

    def __init__(self, code: int, text: str, outcome: Outcome | None) -> None:
        self.code = code
        self.text = text
        self.outcome = outcome


class StratumError(Exception):
    """Base of this package's errors."""


class ProtocolError(StratumError):
    """Raised when a line is not what stratum allows.

    Attributes:
        code: The wire's error code.
        text: What the peer is told.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class LineTooLong(ProtocolError):
    """Raised when a line exceeds the limit; there is no way to go on after it."""

    def __init__(self, line_bytes_max: int) -> None:
        super().__init__(20, f"a line has more than {line_bytes_max} bytes")
        self.line_bytes_max = line_bytes_max


class JournalUnavailable(StratumError):
    """Raised when shares cannot be recorded now.

    Attributes:
        reason: Why, for the miner, the operator and the metric.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ExtranonceExhausted(StratumError):
    """Raised when every extranonce1 of the process is in use."""


class PrefixLost(StratumError):
    """Raised when the process's piece of the search space may be another's by now: it must start anew with another.

    Attributes:
        prefix: The piece.
    """

    def __init__(self, prefix: int) -> None:
        super().__init__(f"prefix {prefix:04x} is lost")
        self.prefix = prefix


class PoolCannotStart(UserError):
    """Raised when a stratum process must not or cannot begin to serve."""
