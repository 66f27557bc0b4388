"""Carry JSON-RPC calls over HTTP to one node: connection reuse, credentials, timeouts, exact numbers."""

import base64
import socket
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
import msgspec

from nodes.errors import (
    RPC_CLIENT_IN_INITIAL_DOWNLOAD,
    RPC_CLIENT_NOT_CONNECTED,
    RPC_IN_WARMUP,
    NodeAnswerInvalid,
    NodeBusy,
    NodeError,
    NodeRpcError,
    NodeUnauthorized,
    NodeUnreachable,
)
from nodes.settings import NodeSettings

CONNECT_TIMEOUT_S: Final = 3.0
KEEPALIVE_S: Final = 15.0
"""Idle connections are dropped before the node's own 30 s limit, so that none dies in our hands."""
CONNECTIONS_MAX: Final = 8
ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
HTTP_QUEUE_FULL: Final = 503

_BUSY_CODES: Final = frozenset({RPC_CLIENT_NOT_CONNECTED, RPC_CLIENT_IN_INITIAL_DOWNLOAD, RPC_IN_WARMUP})
_DECODER: Final = msgspec.json.Decoder(float_hook=Decimal)


class JsonRpc:
    """Call methods of one node. Numbers with a point arrive as Decimal, never as float.

    Ordinary calls share a pool of kept connections. A patient call (long poll) has a session of its own, so that it
    can never hold a connection that a submit needs, and TCP keepalive, so that a vanished node is noticed.
    """

    def __init__(self, settings: NodeSettings, *, name: str) -> None:
        self._settings = settings
        self._name = name
        self._auth: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._patient_session: aiohttp.ClientSession | None = None
        self._call_count = 0

    async def call(
        self,
        method: str,
        params: Sequence[object] = (),
        *,
        wallet: str = "",
        timeout_s: float | None = None,
        is_patient: bool = False,
    ) -> object:
        """Call one method and return its result.

        Args:
            method: RPC method.
            params: Its positional arguments; a Decimal is sent as a string, which nodes read exactly.
            wallet: Send it to this wallet; empty means the node itself.
            timeout_s: Limit of the whole call; None means the setting of the node.
            is_patient: Use the session for long polls.

        Raises:
            NodeError: The subclass says why.
        """
        self._call_count += 1
        request_id = self._call_count
        body = msgspec.json.encode({"jsonrpc": "1.0", "id": request_id, "method": method, "params": params})
        limit_s = self._settings.timeout_s if timeout_s is None else timeout_s
        status, payload = await self._post(method, body, wallet=wallet, limit_s=limit_s, is_patient=is_patient)
        if status == 401 and (self._settings.cookie_file or self._settings.password_file):
            self._auth = None
            status, payload = await self._post(method, body, wallet=wallet, limit_s=limit_s, is_patient=is_patient)
        return self._result(method, status, payload)

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._session, self._patient_session):
            if session is not None:
                await session.close()
        self._session = self._patient_session = None

    async def _post(
        self, method: str, body: bytes, *, wallet: str, limit_s: float, is_patient: bool
    ) -> tuple[int, bytes]:
        url = self._settings.url.rstrip("/") + (f"/wallet/{quote(wallet, safe='')}" if wallet else "/")
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=min(CONNECT_TIMEOUT_S, limit_s))
        session = self._patient() if is_patient else self._ordinary()
        try:
            headers = self._headers(method)
            async with session.post(url, data=body, headers=headers, timeout=timeout) as response:
                payload = bytearray()
                async for chunk in response.content.iter_any():
                    payload += chunk
                    if len(payload) > ANSWER_BYTES_MAX:
                        raise NodeAnswerInvalid(
                            node=self._name,
                            method=method,
                            expected=f"at most {ANSWER_BYTES_MAX} bytes",
                            got="more",
                        )
                return response.status, bytes(payload)
        except TimeoutError as error:
            raise self._unreachable(method, f"no answer within {limit_s:g} s") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise self._unreachable(method, "the url is not one, expected http://host:port") from error
        except aiohttp.ClientConnectorError as error:
            raise self._unreachable(method, error.os_error.strerror or str(error.os_error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._unreachable(method, str(error) or type(error).__name__) from error

    def _result(self, method: str, status: int, payload: bytes) -> object:
        if status in (401, 403):
            credentials = "cookie" if self._settings.cookie_file else "user and password"
            raise NodeUnauthorized(
                node=self._name,
                method=method,
                credentials=credentials if status == 401 else f"address of this machine or the {credentials}",
            )
        try:
            answer = _DECODER.decode(payload)
        except msgspec.DecodeError as error:
            text = payload[:80].decode("utf-8", "replace")
            if status == HTTP_QUEUE_FULL:
                raise NodeBusy(node=self._name, method=method, code=HTTP_QUEUE_FULL, message=text) from error
            raise self._invalid(method, f"HTTP status {status} with {text!r}") from error
        if not isinstance(answer, dict):
            raise self._invalid(method, f"JSON {type(answer).__name__}")
        if (failure := answer.get("error")) is not None:
            raise self._failure(method, failure)
        if "result" not in answer:
            raise self._invalid(method, f"HTTP status {status} without a result")
        return answer["result"]

    def _failure(self, method: str, failure: object) -> NodeError:
        if not isinstance(failure, Mapping) or not isinstance(failure.get("code"), int):
            return self._invalid(method, f"an error without a code: {str(failure)[:80]}")
        code, message = failure["code"], str(failure.get("message", ""))
        kind = NodeBusy if code in _BUSY_CODES else NodeRpcError
        return kind(node=self._name, method=method, code=code, message=message)

    def _invalid(self, method: str, got: str) -> NodeAnswerInvalid:
        return NodeAnswerInvalid(node=self._name, method=method, expected="a JSON-RPC answer", got=got)

    def _unreachable(self, method: str, reason: str) -> NodeUnreachable:
        return NodeUnreachable(node=self._name, method=method, url=self._settings.url, reason=reason)

    def _headers(self, method: str) -> dict[str, str]:
        if self._auth is None:
            if self._settings.cookie_file:
                self._auth = _basic(self._read(method, "cookie file", self._settings.cookie_file))
            elif self._settings.password_file:
                password = self._read(method, "password file", self._settings.password_file)
                self._auth = _basic(f"{self._settings.user}:{password}")
            elif self._settings.user or self._settings.password:
                self._auth = _basic(f"{self._settings.user}:{self._settings.password}")
        return {} if self._auth is None else {"Authorization": self._auth}

    def _read(self, method: str, what: str, path: str) -> str:
        """Read a file of secrets; the node writes its cookie anew at each start."""
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise NodeUnauthorized(
                node=self._name,
                method=method,
                credentials=f"call, as the {what} {path} cannot be read ({reason})",
            ) from error

    def _ordinary(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _open_session(connections_max=CONNECTIONS_MAX)
        return self._session

    def _patient(self) -> aiohttp.ClientSession:
        if self._patient_session is None:
            self._patient_session = _open_session(connections_max=2)
        return self._patient_session


def _basic(user_and_password: str) -> str:
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def _open_session(*, connections_max: int) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=connections_max, keepalive_timeout=KEEPALIVE_S, socket_factory=_keepalive_socket
    )
    return aiohttp.ClientSession(connector=connector, headers={"Content-Type": "application/json"})


def _keepalive_socket(address: tuple[object, ...]) -> socket.socket:
    family, kind, protocol = address[0], address[1], address[2]
    opened = socket.socket(family, kind, protocol)  # type: ignore[arg-type]  # aiohttp hands getaddrinfo's tuple over
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    return opened
