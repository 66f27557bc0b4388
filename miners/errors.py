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


class RevisionConflict(MinerError):
    """Raised when a change was made from settings that have changed since.

    Attributes:
        revision: The revision they have now.
    """

    def __init__(self, revision: int) -> None:
        super().__init__(f"the settings have revision {revision} now")
        self.revision = revision
