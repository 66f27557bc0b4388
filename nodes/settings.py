"""Hold what the operator writes about one node."""

from typing import Annotated

import msgspec


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Describe how to reach one node of the Bitcoin family and, where it has one, its wallet.

    Attributes:
        name: What logs and health call the node; empty means host and port of `url`.
        url: HTTP address of its JSON-RPC, without user, password or wallet path.
        user: RPC user; empty when `cookie_file` is used.
        password: RPC password. Never logged. Not in a cluster's tree, where everybody who may read etcd would see it.
        password_file: Path of a file with nothing but the password, instead of `password`; read again whenever the node
            answers 401. `LODEPOOL_NODE_<NAME>_PASSWORD` in the environment comes before both.
        cookie_file: Path of the node's `.cookie`; read again whenever the node answers 401.
        wallet: Wallet name; calls to the wallet go to `/wallet/<name>`. Empty means the default wallet.
        zmq_hashblock: The node's `zmqpubhashblock` address (`tcp://…`); empty means ask the node for it.
        timeout_s: Limit of one call, in seconds.
    """

    name: str = ""
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^/@]+/?$")] = "http://127.0.0.1:9332"
    user: str = ""
    password: str = ""
    password_file: str = ""
    cookie_file: str = ""
    wallet: str = ""
    zmq_hashblock: str = ""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=600)] = 10.0

    def __post_init__(self) -> None:
        """Refuse two answers to one question."""
        if self.password_file and (self.password or self.cookie_file):
            raise ValueError(
                f"password_file and {'password' if self.password else 'cookie_file'} are given; choose one"
            )

    def __repr__(self) -> str:
        """Leave the password out."""
        return f"NodeSettings(name={self.name!r}, url={self.url!r}, wallet={self.wallet!r})"
