"""What can go wrong between us and etcd."""

from runtime.errors import UserError


class EtcdError(Exception):
    """Base of the errors that trying again, or starting again from the beginning, can mend."""


class EtcdUnavailable(EtcdError):
    """Raised when no member answered in time.

    A write that ends so may have taken place, or may still take place later: what is written must be safe for both.
    """


class LeaseGone(EtcdError):
    """Raised when the lease has expired or was revoked; its keys are gone with it."""


class EtcdRefused(UserError):
    """Raised when etcd answered that it will not do this: permissions, a certificate's user, a bad request."""
