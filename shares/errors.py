"""Errors of the shares service."""


class ShareError(Exception):
    """Base of this package's errors."""


class MalformedRecord(ShareError):
    """Raised when a record of the stream breaks the contract; it is set aside and the stream goes on.

    Attributes:
        problem: The rule that is broken.
    """

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class BooksRefuse(ShareError):
    """Raised when the database has refused so many records in a row that the fault is ours, not the records'.

    Attributes:
        record_count: Records refused since the last one that was booked.
        reason: What the database said of the last one.
    """

    def __init__(self, *, record_count: int, reason: str) -> None:
        super().__init__(f"{record_count} records in a row are refused: {reason}; nothing more is set aside")
        self.record_count = record_count
        self.reason = reason


class WindowNotReady(ShareError):
    """Raised when the stream has not yet passed the block whose window is asked for.

    Attributes:
        missing: What is waited for, one sentence each.
    """

    def __init__(self, missing: tuple[str, ...]) -> None:
        super().__init__("; ".join(missing))
        self.missing = missing


class WindowConflict(ShareError):
    """Raised when a request id is used again for another window.

    Attributes:
        request_id: The id.
    """

    def __init__(self, request_id: str) -> None:
        super().__init__(f"request_id {request_id} was used for another window")
        self.request_id = request_id
