"""Read the PROXY protocol's header, versions 1 and 2, that a load balancer puts before a connection.

Source: haproxy.org, proxy-protocol.txt.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

from stratum.errors import ProtocolError
from stratum.protocol.messages import CODE_OTHER

V1_BYTES_MAX = 107
V2_BYTES_MAX = 16 + 2048
_V2_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD = 16
_V2_INET = 0x1
_V2_INET6 = 0x2


def parse_proxy_header(data: bytes) -> tuple[str | None, bytes] | None:
    """Read the header at the beginning of a connection.

    Returns:
        The client's address (None: the balancer speaks for itself) and what follows the header; None when more bytes
        are needed.

    Raises:
        ProtocolError: There is no such header.
    """
    if data[: len(_V2_SIGNATURE)] == _V2_SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _parse_v1(data)
    raise ProtocolError(CODE_OTHER, "expected a PROXY protocol header")


def _parse_v1(data: bytes) -> tuple[str | None, bytes] | None:
    end = data.find(b"\r\n", 0, V1_BYTES_MAX)
    if end < 0:
        if len(data) >= V1_BYTES_MAX:
            raise ProtocolError(CODE_OTHER, "the PROXY header is too long")
        return None
    words = data[:end].split(b" ")
    rest = data[end + 2 :]
    if words[1:2] == [b"UNKNOWN"]:
        return None, rest
    try:
        _, family, source, _, _, _ = (word.decode("ascii") for word in words)
        address = ip_address(source)
    except ValueError:
        raise ProtocolError(CODE_OTHER, "the PROXY header is malformed") from None
    if family not in {"TCP4", "TCP6"}:
        raise ProtocolError(CODE_OTHER, "the PROXY header is malformed")
    return str(address), rest


def _parse_v2(data: bytes) -> tuple[str | None, bytes] | None:
    if len(data) < _V2_HEAD:
        return None
    if data[12] >> 4 != 2 or data[12] & 0xF > 1:
        raise ProtocolError(CODE_OTHER, "the PROXY header has an unknown version or command")
    end = _V2_HEAD + int.from_bytes(data[14:16], "big")
    if end > V2_BYTES_MAX:
        raise ProtocolError(CODE_OTHER, "the PROXY header is too long")
    if len(data) < end:
        return None
    is_local = data[12] & 0xF == 0
    family = data[13] >> 4
    body, rest = data[_V2_HEAD:end], data[end:]
    if not is_local and family == _V2_INET and len(body) >= 12:
        return str(IPv4Address(body[:4])), rest
    if not is_local and family == _V2_INET6 and len(body) >= 36:
        return str(IPv6Address(body[:16])), rest
    return None, rest
