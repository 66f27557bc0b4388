"""gRPC: servers, clients, who may call whom, errors both sides share, and page tokens.

Start with server.py (`RpcServer`) on the serving side and client.py (`RpcClients`, `Directory`) on the calling side.
errors.py has the exceptions that cross the border; pages.py the opaque page tokens of List methods. settings.py and
identity.py say who this process is; certificates.py and tokens.py are what it proves that with; guard.py asks callers.

Reading order: errors.py, pages.py, access.py, settings.py, certificates.py, tokens.py, identity.py, guard.py,
server.py, channels.py, client.py.
May import: runtime.clock, runtime.errors, runtime.logs, runtime.postgres; grpc, cryptography, jwt.
"""

from runtime.rpc.access import Access
from runtime.rpc.client import Directory, RpcClients, StaticDirectory
from runtime.rpc.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RpcError,
    Unauthenticated,
    Unavailable,
    translate,
)
from runtime.rpc.identity import Identity, load_identity
from runtime.rpc.server import RpcServer
from runtime.rpc.settings import RpcSettings

__all__ = [
    "Access",
    "Directory",
    "FailedPrecondition",
    "Identity",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "RpcClients",
    "RpcError",
    "RpcServer",
    "RpcSettings",
    "StaticDirectory",
    "Unauthenticated",
    "Unavailable",
    "load_identity",
    "translate",
]
