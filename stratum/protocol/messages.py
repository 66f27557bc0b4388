"""Decode requests and encode answers and notifications, one JSON line each."""

import re
from fractions import Fraction

import msgspec

from stratum.errors import ProtocolError, RejectReason

ID_BYTES_MAX = 64
"""Longest JSON text of a request's id; firmware sends small numbers."""

CODE_OTHER = 20
CODE_UNAUTHORIZED = 24
CODE_NOT_SUBSCRIBED = 25
CODE_UNKNOWN_METHOD = -32601
METHOD_CHARS_SHOWN = 40

SUBMIT = "mining.submit"
NULL_ID = b"null"
_DIFFICULTY_DIGITS_MAX = 40
_DECIMAL = re.compile(r"[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,2})?|[0-9]+\.")


class Submit(msgspec.Struct, gc=False):
    """A share as it came: the hot message.

    Attributes:
        id: The request's id.
        method: "mining.submit"; any other when just decoded.
        params: user, job id, extranonce2, ntime, nonce and maybe version bits; anything that a peer likes.
    """

    id: int
    method: str
    params: list[str]


class OddSubmit(msgspec.Struct, gc=False):
    """A share whose request's id is no number.

    Attributes:
        id: The id's JSON text, a scalar.
        params: As in Submit.
    """

    id: bytes
    params: list[str]


class Request(msgspec.Struct, gc=False):
    """A decoded request.

    Attributes:
        id: JSON text of the id, a scalar.
        method: Its method; empty in an answer to something we asked.
        params: Its parameters; those of an object are its only element.
    """

    id: bytes
    method: str
    params: list[object]


class _Line(msgspec.Struct, gc=False):
    id: msgspec.Raw = msgspec.Raw(NULL_ID)
    method: str | None = ""
    params: list[object] | dict[str, object] | None = None


decode_submit = msgspec.json.Decoder(Submit).decode
"""Decode a line of the usual form fast; raises msgspec.DecodeError or ValidationError for any other."""

_decode_line = msgspec.json.Decoder(_Line).decode
_encode = msgspec.json.encode


def decode_request(line: bytes) -> Request:
    """Decode any line.

    Raises:
        ProtocolError: The line is not JSON, not an object, or a field has a type that the protocol does not know.
    """
    try:
        decoded = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(CODE_OTHER, "expected a JSON object with id, method and params") from None
    params = decoded.params
    return Request(
        id=_checked_id(decoded.id),
        method=decoded.method or "",
        params=params if isinstance(params, list) else [] if params is None else [params],
    )


def _checked_id(raw: msgspec.Raw) -> bytes:
    text = bytes(raw).strip()
    if text[:1] in {b"[", b"{"} or len(text) > ID_BYTES_MAX:
        raise ProtocolError(CODE_OTHER, f"the id must be a JSON scalar of at most {ID_BYTES_MAX} bytes")
    return text


def result_line(request_id: bytes, result: object) -> bytes:
    """Encode the answer to a request that succeeded."""
    return b'{"id":%b,"result":%b,"error":null}\n' % (request_id, _encode(result))


def error_line(request_id: bytes, code: int, text: str) -> bytes:
    """Encode the answer to a request that failed."""
    return b'{"id":%b,"result":null,"error":[%d,%b,null]}\n' % (request_id, code, _encode(text))


def accepted_line(request_id: int | bytes) -> bytes:
    """Encode the answer to an accepted share."""
    if isinstance(request_id, int):
        return b'{"id":%d,"result":true,"error":null}\n' % request_id
    return b'{"id":%b,"result":true,"error":null}\n' % request_id


_REJECTED_TAILS = {
    reason: b',"result":null,"error":[%d,%b,null]}\n' % (reason.code, _encode(reason.text)) for reason in RejectReason
}


def rejected_line(request_id: int | bytes, reason: RejectReason) -> bytes:
    """Encode the answer to a refused share."""
    head = b'{"id":%d' % request_id if isinstance(request_id, int) else b'{"id":' + request_id
    return head + _REJECTED_TAILS[reason]


def not_recorded_line(request_id: int | bytes, why: str) -> bytes:
    """Encode the answer to a good share that the pool cannot keep (D6)."""
    text = b"%d" % request_id if isinstance(request_id, int) else request_id
    return error_line(text, RejectReason.NOT_RECORDED.code, f"{RejectReason.NOT_RECORDED.text}: {why}")


def set_difficulty_line(difficulty: float) -> bytes:
    """Encode `mining.set_difficulty`."""
    return b'{"id":null,"method":"mining.set_difficulty","params":[%b]}\n' % _encode(difficulty)


def notification_line(method: str, params: list[object]) -> bytes:
    """Encode a message that wants no answer."""
    return b'{"id":null,"method":%b,"params":%b}\n' % (_encode(method), _encode(params))


def positive_fraction(value: object) -> Fraction | None:
    """Read a positive number that a miner wrote as JSON number or text; None when it is none.

    Args:
        value: 0.00015 and "0.00015" are the fraction 3/20000.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = repr(value) if isinstance(value, float) else str(value).strip()
    if len(text) > _DIFFICULTY_DIGITS_MAX or not _DECIMAL.fullmatch(text):
        return None
    number = Fraction(text.rstrip("."))
    return number if number > 0 else None
