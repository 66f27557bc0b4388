"""What can go wrong in the notifier."""


class NotifierError(Exception):
    """Base of this service's errors."""


class SubscriptionInvalid(NotifierError):
    """Raised when a subscription says something that cannot be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class SubscriptionUnknown(NotifierError):
    """Raised when there is no such subscription."""

    def __init__(self, subscription_id: int) -> None:
        super().__init__(f"there is no subscription {subscription_id}")
        self.subscription_id = subscription_id


class TooManySubscriptions(NotifierError):
    """Raised when an address has as many subscriptions as one may have."""

    def __init__(self, count_max: int) -> None:
        super().__init__(f"the address has {count_max} subscriptions already")
        self.count_max = count_max


class NoticeInvalid(NotifierError):
    """Raised when a record of topic `notices` is not a notice that can be told."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class TargetRefused(NotifierError):
    """Raised when a webhook's address may not be called."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
