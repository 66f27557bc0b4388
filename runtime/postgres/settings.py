"""How to reach PostgreSQL."""

from typing import Annotated

import msgspec

EMBEDDED = "embedded"


class PostgresSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The `[postgres]` section.

    Attributes:
        dsn: "embedded", or a postgresql:// URL.
        pool_size_max: Connections of one process; one of them listens for news of the event log.
        statement_timeout_s: The server cancels a statement that runs longer.
        connect_timeout_s: Limit of one attempt to connect.
        wait_s: How long a process waits at its start for a server that is still starting.
    """

    dsn: str = EMBEDDED
    pool_size_max: Annotated[int, msgspec.Meta(ge=2, le=500)] = 10
    statement_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
    connect_timeout_s: Annotated[int, msgspec.Meta(ge=1, le=300)] = 5
    wait_s: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 30
