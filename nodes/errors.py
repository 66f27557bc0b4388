"""Name what can go wrong between the pool and a node.

`str()` of each is a sentence for the operator: what was wrong, and what to look at.
"""
# the names say what happened: a node is unreachable, it is not an "error" of ours

from runtime.errors import UserError

RPC_INVALID_ADDRESS_OR_KEY = -5
RPC_INVALID_PARAMETER = -8
RPC_CLIENT_NOT_CONNECTED = -9
RPC_CLIENT_IN_INITIAL_DOWNLOAD = -10
RPC_WALLET_ERROR = -4
RPC_WALLET_INSUFFICIENT_FUNDS = -6
RPC_WALLET_NOT_FOUND = -18
RPC_DESERIALIZATION_ERROR = -22
RPC_VERIFY_ERROR = -25
RPC_VERIFY_REJECTED = -26
RPC_VERIFY_ALREADY_IN_CHAIN = -27
RPC_IN_WARMUP = -28
RPC_METHOD_NOT_FOUND = -32601


class NodeError(Exception):
    """Base of all failures of a node; `node` is its name, `method` the call that failed (empty: none)."""

    def __init__(self, *, node: str, method: str = "") -> None:
        super().__init__(node, method)
        self.node = node
        self.method = method

    def __str__(self) -> str:
        return f"node {self.node}: {self.problem()}" + (f" ({self.method})" if self.method else "")

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        return "failed"


class NodeUnreachable(NodeError):
    """Raised when the node cannot be reached, closes the connection, or does not answer in time."""

    def __init__(self, *, node: str, method: str = "", url: str, reason: str) -> None:
        super().__init__(node=node, method=method)
        self.url = url
        self.reason = reason

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        return (
            f"cannot be reached at {self.url}: {self.reason}; is it running, and is its RPC port open to this machine?"
        )


class NodeUnauthorized(NodeError):
    """Raised when the node refuses our user and password or cookie."""

    def __init__(self, *, node: str, method: str = "", credentials: str) -> None:
        super().__init__(node=node, method=method)
        self.credentials = credentials

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        return (
            f"refused the {self.credentials}; expected the rpcuser and rpcpassword of its configuration, "
            "or a cookie_file that this process may read"
        )


class NodeRpcError(NodeError):
    """Raised when the node answers with an error; `code` and `message` are the node's own."""

    def __init__(self, *, node: str, method: str = "", code: int, message: str) -> None:
        super().__init__(node=node, method=method)
        self.code = code
        self.message = message

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        return f"answered with error {self.code}: {self.message}"


class NodeBusy(NodeRpcError):
    """Raised when the node is up but not of use yet: warming up, without peers, or in its initial download."""

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        hint = {
            RPC_IN_WARMUP: "it is still starting",
            RPC_CLIENT_NOT_CONNECTED: "it has no peers, and needs at least one to give templates",
            RPC_CLIENT_IN_INITIAL_DOWNLOAD: "it is still downloading the chain",
        }.get(self.code, "its work queue is full")
        return f"is not ready: {hint} (error {self.code}: {self.message})"


class NodeAnswerInvalid(NodeError):
    """Raised when an answer is not what the protocol promises."""

    def __init__(self, *, node: str, method: str = "", expected: str, got: str) -> None:
        super().__init__(node=node, method=method)
        self.expected = expected
        self.got = got

    def problem(self) -> str:
        """Say what went wrong, without the node's name and the method."""
        return f"gave an answer that makes no sense: expected {self.expected}, got {self.got}"


class NoHealthyNode(NodeError):
    """Raised when no node of a group can be used; `reasons` names the last failure of each."""

    def __init__(self, *, reasons: tuple[tuple[str, str], ...]) -> None:
        super().__init__(node=", ".join(name for name, _ in reasons) or "none configured")
        self.reasons = reasons

    def __str__(self) -> str:
        details = "; ".join(f"{name}: {reason}" for name, reason in self.reasons) or "no node is configured"
        return f"no node can be used: {details}"


class PoolAddressMismatch(UserError):
    """Raised when a node's answer about the pool's address is not the same as ours, so a reward could be lost."""

    def __init__(self, *, node: str, address: str, expected: str, got: str) -> None:
        super().__init__(
            f"the pool's address {address} does not fit node {node}: expected {expected}, got {got}",
            "the coin, the address and the node must be of one network",
        )
        self.node = node
        self.address = address
        self.expected = expected
        self.got = got


class InsufficientFunds(NodeRpcError):
    """Raised when the wallet cannot pay the outputs and the fee of a transaction it was asked to build."""
