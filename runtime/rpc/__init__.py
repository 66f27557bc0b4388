"""gRPC: servers, clients, errors both sides share, and page tokens.

Start with server.py (`RpcServer`) on the serving side and client.py (`RpcClients`, `Directory`) on the calling side.
errors.py has the exceptions that cross the border; pages.py the opaque page tokens of List methods.

Reading order: errors.py, pages.py, server.py, client.py.
May import: runtime.errors, runtime.logs, runtime.postgres; grpc.
"""

from runtime.rpc.client import Directory, RpcClients, StaticDirectory
from runtime.rpc.errors import FailedPrecondition, InvalidArgument, NotFound, RpcError, Unavailable, translate
from runtime.rpc.server import RpcServer

__all__ = [
    "Directory",
    "FailedPrecondition",
    "InvalidArgument",
    "NotFound",
    "RpcClients",
    "RpcError",
    "RpcServer",
    "StaticDirectory",
    "Unavailable",
    "translate",
]
