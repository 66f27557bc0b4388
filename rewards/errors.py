"""What can go wrong in rewards."""


class RewardsError(Exception):
    """Base of this service's errors."""


class BlockInvalid(RewardsError):
    """Raised when a record of topic `blocks` is not a block that can be booked."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class BlockChanged(RewardsError):
    """Raised when a block was moved on by another process between looking and booking; look again."""

    def __init__(self, block_hash_hex: str) -> None:
        super().__init__(f"block {block_hash_hex} was changed meanwhile")
        self.block_hash_hex = block_hash_hex
