"""Keeps what aiokafka logs readable: during an outage it repeats itself many times a second.

Its errors are a broker that is away, which costs nobody anything: they count as warnings here, since an ERROR of ours
means that data or money is at risk. Its news about assignments are for those who look for a fault.
"""

import logging

INTERVAL_S = 60.0
KINDS_MAX = 1000

_PREFIX = "aiokafka"


class RepetitionFilter(logging.Filter):
    """Lets one line per interval and kind of message pass; the next one says how many were left out.

    A kind is the logger and the text before its values are filled in.

    Args:
        interval_s: How long a kind stays silent after a line.
    """

    def __init__(self, *, interval_s: float = INTERVAL_S) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._kinds: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record passes; its text may be changed."""
        if record.levelno < logging.WARNING:
            return logging.getLogger().isEnabledFor(logging.DEBUG)
        if record.levelno == logging.ERROR:
            record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        kind = (record.name, str(record.msg))
        shown_s, left_out_count = self._kinds.get(kind, (-self._interval_s, 0))
        # A wall clock that was set back must not silence a kind for long.
        if 0 <= record.created - shown_s < self._interval_s:
            self._kinds[kind] = (shown_s, left_out_count + 1)
            return False
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = (record.created, 0)
        if left_out_count:
            record.msg = f"{record.getMessage()} ({left_out_count} more lines of this kind were left out before)"
            record.args = None
        return True


def cap_client_logs() -> None:
    """Put a RepetitionFilter before each of aiokafka's loggers, once."""
    # A filter of a logger does not see the records of the loggers below it.
    for name in [_PREFIX, *(name for name in logging.Logger.manager.loggerDict if name.startswith(f"{_PREFIX}."))]:
        logger = logging.getLogger(name)
        if not any(isinstance(known, RepetitionFilter) for known in logger.filters):
            logger.addFilter(RepetitionFilter())
