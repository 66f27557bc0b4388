"""Messages as WebSocket frames, made once however many get them. Pure. Source: RFC 6455, section 5.2."""

from datetime import datetime
from typing import Any

import msgspec

TRY_AGAIN_LATER = 1013
_TEXT = 0x81
_CLOSE = 0x88
_SHORT_MAX = 125
_MEDIUM_MAX = 65_535


def message(*, event: str, data: object, time: datetime, topic: str | None = None) -> bytes:
    """Return a message as JSON; without a topic it is about the connection itself."""
    content: dict[str, Any] = {"event": event, "time": time, "data": data}
    if topic is not None:
        content = {"topic": topic, **content}
    return msgspec.json.encode(content)


def text_frame(payload: bytes) -> bytes:
    """Return the payload in one unmasked text frame, as a server sends it."""
    return bytes([_TEXT]) + _length(len(payload)) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; the reason has at most 123 bytes."""
    payload = code.to_bytes(2, "big") + reason.encode()
    if len(payload) > _SHORT_MAX:
        raise ValueError("a close frame's payload has at most 125 bytes")
    return bytes([_CLOSE, len(payload)]) + payload


def _length(size: int) -> bytes:
    if size <= _SHORT_MAX:
        return bytes([size])
    if size <= _MEDIUM_MAX:
        return bytes([126]) + size.to_bytes(2, "big")
    return bytes([127]) + size.to_bytes(8, "big")
