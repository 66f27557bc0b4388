"""Retries with a budget, deadlines, and errors with details, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from runtime.postgres.pool import DatabaseUnavailable
from runtime.rpc import server as server_module
from runtime.rpc.channels import ATTEMPTS_MAX, RETRY_TOKENS
from runtime.rpc.client import RpcClients, StaticDirectory, call
from runtime.rpc.errors import (
    DOMAIN,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RpcError,
    Unauthenticated,
    Unavailable,
)
from tests.fakes.rpc_world import GET, SERVICE, Box, calling, serving
from tests.fakes.waiting import eventually


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
async def clients(box: Box) -> AsyncIterator[RpcClients]:
    async with serving(box, None) as server, calling(None, server.port) as clients:
        yield clients


async def ask(clients: RpcClients, request: bytes = b"x") -> bytes:
    return await call(clients.channel("box").unary_unary(GET), request)


async def test_retries_stop_when_everything_fails_and_come_back_with_success(clients: RpcClients, box: Box) -> None:
    box.error = Unavailable("down")
    call_count = 40
    for _ in range(call_count):
        with pytest.raises(Unavailable):
            await ask(clients)
    retries = box.call_count - call_count
    # Half of the budget; the failure that brings it there is not retried either.
    assert 0 < retries <= RETRY_TOKENS // 2
    box.call_count = 0
    with pytest.raises(Unavailable):
        await ask(clients)
    assert box.call_count == 1
    box.error = None
    for _ in range(RETRY_TOKENS * 10):
        await ask(clients)
    box.error, box.call_count = Unavailable("down"), 0
    with pytest.raises(Unavailable):
        await ask(clients)
    assert box.call_count == ATTEMPTS_MAX


async def test_the_budget_of_one_service_is_not_spent_by_another(box: Box) -> None:
    broken = Box()
    broken.error = Unavailable("down")
    async with serving(broken, None) as first, serving(box, None) as second:
        clients = RpcClients(StaticDirectory({"broken": f"127.0.0.1:{first.port}", "box": f"127.0.0.1:{second.port}"}))
        for _ in range(30):
            with pytest.raises(Unavailable):
                await call(clients.channel("broken").unary_unary(GET), b"x")
        box.error = Unavailable("a moment")
        with pytest.raises(Unavailable):
            await ask(clients)
        assert box.call_count == ATTEMPTS_MAX
        await clients.close()


async def test_each_instance_of_a_service_is_asked_by_name_as_they_come_and_go(box: Box) -> None:
    """§3.10: who asks every instance sees those that there are now."""
    second_box = Box()
    targets: dict[str, str] = {}

    class Register(StaticDirectory):
        def members(self, service: str) -> Mapping[str, str]:
            return targets

    async with serving(box, None) as first, serving(second_box, None) as second:
        clients = RpcClients(Register({}))
        assert clients.members("box") == ()
        targets |= {"a": f"127.0.0.1:{first.port}", "b": f"127.0.0.1:{second.port}"}
        assert clients.members("box") == ("a", "b")
        for name in ("a", "b", "b"):
            assert await call(clients.member_channel("box", name).unary_unary(GET), b"x") == b"x"
        assert (box.call_count, second_box.call_count) == (1, 2)
        gone = clients.member_channel("box", "a")
        del targets["a"]
        with pytest.raises(Unavailable):
            await call(gone.unary_unary(GET), b"x")
        assert clients.members("box") == ("b",)
        assert await call(clients.member_channel("box", "b").unary_unary(GET), b"x") == b"x"
        await clients.close()


async def test_a_call_without_a_deadline_is_ended(
    clients: RpcClients, box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert server_module.DEADLINE_S == 30
    monkeypatch.setattr(server_module, "DEADLINE_S", 0.05)
    channel = clients.channel("box")
    async with asyncio.timeout(5):
        with pytest.raises(grpc.aio.AioRpcError, match="had no deadline") as caught:
            await channel.unary_unary(GET)(b"wait")
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        stream = channel.unary_stream(f"/{SERVICE}/WatchThing")(b"wait")
        assert await stream.read() == b"wait"
        with pytest.raises(grpc.aio.AioRpcError, match="had no deadline"):
            await stream.read()


async def test_a_call_keeps_the_deadline_it_has(clients: RpcClients, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "DEADLINE_S", 0.01)
    with pytest.raises(Unavailable):
        await call(clients.channel("box").unary_unary(GET), b"wait", timeout_s=0.3)
    waiting = asyncio.ensure_future(clients.channel("box").unary_unary(GET)(b"wait", timeout=60))
    await eventually(lambda: box.call_count == 2, what="the call")
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting


@pytest.mark.parametrize(
    "raised",
    [
        NotFound("no such thing", reason="THING_UNKNOWN", metadata={"thing": "7"}),
        FailedPrecondition("nicht jetzt: später"),
        Unauthenticated("who are you?"),
        PermissionDenied("not you"),
        Unavailable("away", reason="THING_ASLEEP", retry_after_ms=2500),
        InvalidArgument("account.name", "must not be empty"),
        InvalidArgument("", "is nothing"),
        InvalidArgument("first", "is wrong", ("second", "is wrong: too")),
        InvalidArgument("naïve", "ist kein Feld"),
    ],
)
async def test_errors_arrive_with_everything_they_say(clients: RpcClients, box: Box, raised: RpcError) -> None:
    box.error = raised
    with pytest.raises(type(raised)) as caught:
        await ask(clients)
    assert {name: value for name, value in vars(caught.value).items() if not name.startswith("_")} == vars(raised)


async def test_the_details_are_those_of_google_rpc(clients: RpcClients, box: Box) -> None:
    box.error = InvalidArgument("page_size", "must not be negative", ("coin", "is missing"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await clients.channel("box").unary_unary(GET)(b"x", timeout=5)
    status = rpc_status.from_call(caught.value)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(request)
    assert (info.reason, info.domain) == ("INVALID_ARGUMENT", DOMAIN)
    assert [(each.field, each.description) for each in request.field_violations] == [
        ("page_size", "must not be negative"),
        ("coin", "is missing"),
    ]
    assert caught.value.details() == "page_size: must not be negative; coin: is missing"


async def test_a_database_that_is_away_and_our_own_faults_have_reasons(clients: RpcClients, box: Box) -> None:
    box.error = DatabaseUnavailable("host secret-db")
    with pytest.raises(Unavailable) as away:
        await ask(clients)
    assert (away.value.reason, away.value.retry_after_ms) == ("DATABASE_UNAVAILABLE", 1000)
    box.error = ZeroDivisionError()
    with pytest.raises(RpcError) as fault:
        await ask(clients)
    assert fault.value.reason == "INTERNAL"
    assert fault.value.message == f"internal error {fault.value.metadata['error_id']}"


async def test_a_very_long_message_still_arrives(clients: RpcClients, box: Box) -> None:
    box.error = InvalidArgument("text", "ü" * 50_000, *((f"field{i}", "y" * 2_000) for i in range(100)))
    with pytest.raises(InvalidArgument) as caught:
        await ask(clients)
    assert caught.value.field == "text"


class Foreign:
    """A server that is not ours: it answers with a status of its own making."""

    def __init__(self, code: grpc.StatusCode, details: bytes | None) -> None:
        self.code = code
        self.trailing = () if details is None else (("grpc-status-details-bin", details),)

    async def serve(self, request: bytes, context) -> bytes:
        await context.abort(self.code, "says the stranger", self.trailing)
        raise AssertionError


MISLEADING = status_pb2.Status(code=5, message="something else").SerializeToString()


@pytest.mark.parametrize("details", [None, b"\xff\xff not protobuf", MISLEADING, b""])
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
        (grpc.StatusCode.NOT_FOUND, NotFound),
        (grpc.StatusCode.PERMISSION_DENIED, PermissionDenied),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
        (grpc.StatusCode.FAILED_PRECONDITION, FailedPrecondition),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Unavailable),
        (grpc.StatusCode.DATA_LOSS, RpcError),
    ],
)
async def test_a_foreign_server_is_understood_by_its_status_code(
    code: grpc.StatusCode, expected: type[RpcError], details: bytes | None
) -> None:
    foreign = Foreign(code, details)
    server = grpc.aio.server()
    handlers = {"GetThing": grpc.unary_unary_rpc_method_handler(foreign.serve)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with calling(None, port) as clients:
        with pytest.raises(RpcError, match="says the stranger") as caught:
            await ask(clients)
    assert type(caught.value) is expected
    await server.stop(0)


def test_members_of_a_fixed_table_are_named_after_the_service() -> None:
    directory = StaticDirectory({"stratum-1": "b", "stratum-0": "a", "stratumish": "c", "shares": "d"})
    assert directory.members("stratum") == {"stratum-0": "a", "stratum-1": "b"}
    assert directory.members("shares") == {"shares": "d"}
    assert directory.members("nobody") == {}
