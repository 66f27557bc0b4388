"""Logs: one line per event, JSON for machines or a short form for people."""

import json as json_module
import logging
import sys
import time
from typing import TextIO

from opentelemetry.trace import get_current_span

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def configure_logging(service: str, *, json: bool, level: str, stream: TextIO | None = None) -> None:
    """Send all loggers of the process to one stream, replacing what was configured before.

    Args:
        service: Name of the process, in each line.
        json: True for JSON lines, False for people.
        level: DEBUG, INFO, WARNING or ERROR.
        stream: Where to; None means stderr.
    """
    if level.upper() not in _LEVELS:
        raise ValueError(f"level is one of {', '.join(_LEVELS)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(service) if json else HumanFormatter(service))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for noisy in ("asyncio", "grpc", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def log_event(logger: logging.Logger, level: int, event: str, /, **fields: object) -> None:
    """Log that something has happened.

    Args:
        logger: Usually `logging.getLogger("lodepool.<room>")`.
        level: logging.INFO and its neighbours.
        event: What has happened, past tense, always the same words for the same event.
        **fields: What it happened to. Never secrets, never a peer's whole message above DEBUG.
    """
    if logger.isEnabledFor(level):
        logger.log(level, event, extra={"fields": fields}, stacklevel=2)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, event, logger, trace_id in a trace, then the event's own fields."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, object] = {
            "time": _utc(record),
            "level": record.levelname,
            "service": self._service,
            "event": record.getMessage(),
            "logger": record.name,
        }
        context = get_current_span().get_span_context()
        if context.is_valid:
            line["trace_id"] = f"{context.trace_id:032x}"
        for name, value in _fields(record).items():
            line[f"{name}_" if name in line else name] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json_module.dumps(line, default=_plain, ensure_ascii=False)


class HumanFormatter(logging.Formatter):
    """Time, level, service, event, then `name=value` for each field."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one readable line, with a traceback below it when there is one."""
        parts = [_utc(record), f"{record.levelname:7}", f"{self._service}:", record.getMessage()]
        parts += [f"{name}={_plain(value)}" for name, value in _fields(record).items()]
        line = " ".join(parts).replace("\n", "\\n")
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes | bytearray) else str(value)
