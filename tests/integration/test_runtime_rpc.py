"""gRPC over real unix sockets: errors cross the border, health answers, channels come back."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from runtime.errors import UserError
from runtime.postgres.pool import DatabaseUnavailable
from runtime.rpc.client import RpcClients, StaticDirectory, call
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, RpcError, Unavailable
from runtime.rpc.server import RpcServer

SERVICE = "test.v1.Echo"


class Echo:
    """A service that raises what it is told to; requests and responses are bytes."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.call_count = 0

    async def echo(self, request: bytes, context) -> bytes:
        self.call_count += 1
        if self.error is not None:
            raise self.error
        return request

    async def repeat(self, request: bytes, context) -> AsyncIterator[bytes]:
        yield request
        if self.error is not None:
            raise self.error
        yield request


def add_echo(servicer: Echo, server: grpc.aio.Server) -> None:
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(servicer.echo),
        "Repeat": grpc.unary_stream_rpc_method_handler(servicer.repeat),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def clients(echo: Echo, short_dir: Path) -> AsyncIterator[RpcClients]:
    address = f"unix:{short_dir}/echo.sock"
    server = RpcServer(address, services=[(add_echo, echo, SERVICE)])
    await server.start()
    clients = RpcClients(StaticDirectory({"echo": address}))
    yield clients
    await clients.close()
    await server.stop(0)


async def ask(clients: RpcClients, request: bytes = b"x") -> bytes:
    return await call(clients.channel("echo").unary_unary(f"/{SERVICE}/Echo"), request)


async def test_a_call_is_answered(clients: RpcClients) -> None:
    assert await ask(clients, b"hello") == b"hello"


@pytest.mark.parametrize(
    ("raised", "received"),
    [
        (NotFound("no such thing"), NotFound),
        (FailedPrecondition("not now"), FailedPrecondition),
        (Unavailable("away"), Unavailable),
        (DatabaseUnavailable("host secret-db"), Unavailable),
    ],
)
async def test_our_errors_arrive_as_the_same_class(
    clients: RpcClients, echo: Echo, raised: Exception, received: type[RpcError]
) -> None:
    echo.error = raised
    with pytest.raises(received) as caught:
        await ask(clients)
    assert "secret-db" not in caught.value.message
    if isinstance(raised, RpcError):
        assert caught.value.message == raised.message


async def test_an_invalid_argument_arrives_with_its_field(clients: RpcClients, echo: Echo) -> None:
    echo.error = InvalidArgument("account.name", "must not be empty")
    with pytest.raises(InvalidArgument) as caught:
        await ask(clients)
    assert (caught.value.field, caught.value.problem) == ("account.name", "must not be empty")


async def test_an_unexpected_error_tells_the_caller_only_an_id_that_is_in_the_log(
    clients: RpcClients, echo: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    echo.error = ValueError("password=hunter2")
    with pytest.raises(RpcError) as caught:
        await ask(clients)
    assert type(caught.value) is RpcError
    head, _, error_id = caught.value.message.rpartition(" ")
    assert head == "internal error"
    assert any(getattr(record, "fields", {}).get("error_id") == error_id for record in caplog.records)


async def test_an_error_in_the_middle_of_a_stream_arrives_after_what_was_sent(clients: RpcClients, echo: Echo) -> None:
    echo.error = NotFound("the rest is gone")
    stream = clients.channel("echo").unary_stream(f"/{SERVICE}/Repeat")(b"x", timeout=5)
    received = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in stream:
            received.append(response)  # noqa: PERF401 - what came before the error counts
    assert received == [b"x"]
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_unavailable_is_tried_again_a_few_times(clients: RpcClients, echo: Echo) -> None:
    echo.error = Unavailable("busy")
    with pytest.raises(Unavailable):
        await ask(clients)
    assert echo.call_count == 4


async def test_health_and_reflection_answer(clients: RpcClients) -> None:
    channel = clients.channel("echo")
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in reflection.ServerReflectionInfo(iter([request]), timeout=5):
        assert SERVICE in {service.name for service in response.list_services_response.service}


async def test_a_channel_comes_back_after_the_server_was_away(echo: Echo, short_dir: Path) -> None:
    address = f"unix:{short_dir}/echo.sock"
    clients = RpcClients(StaticDirectory({"echo": address}))
    with pytest.raises(Unavailable):
        await ask(clients)
    for _ in range(2):
        server = RpcServer(address, services=[(add_echo, echo, SERVICE)])
        await server.start()
        method = clients.channel("echo").unary_unary(f"/{SERVICE}/Echo")
        assert await method(b"again", timeout=10, wait_for_ready=True) == b"again"
        await server.stop(0)
    await clients.close()


async def test_an_address_in_use_is_a_sentence(echo: Echo) -> None:
    first = RpcServer("127.0.0.1:0", services=[(add_echo, echo, SERVICE)])
    await first.start()
    second = RpcServer(f"127.0.0.1:{first.port}", services=[(add_echo, echo, SERVICE)])
    with pytest.raises(UserError, match="Cannot listen on"):
        await second.start()
    await first.stop(0)


def test_an_unknown_service_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="nowhere"):
        StaticDirectory({}).target("nowhere")
