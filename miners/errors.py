"""Errors of the miners service."""


class MinerError(Exception):
    """Base of this package's errors."""


class MalformedRecord(MinerError):
    """Raised when a record of the stream breaks the contract.

    Attributes:
        problem: The rule that is broken.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class RequestConflict(MinerError):
    """Raised when a request id is used again for another change.

    Attributes:
        request_id: The id.
    """

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id} was used for another change")
        self.request_id = request_id
