"""What each service may change in others: the whole table, so that one more right is one more line here."""

import pytest

import miners.service
import notifier.service
import payouts.service
import rewards.service
import shares.service
import stratum.service
from cli.certs import SERVICES
from proto.lodepool.miners.v1 import miners_pb2
from proto.lodepool.notifier.v1 import notifier_pb2
from proto.lodepool.payouts.v1 import payouts_pb2
from proto.lodepool.rewards.v1 import rewards_pb2
from proto.lodepool.shares.v1 import shares_pb2
from proto.lodepool.stratum.v1 import stratum_pb2
from runtime.rpc.access import OPERATOR, READS

SERVED = {
    "miners": (miners.service.ACCESS, miners_pb2),
    "notifier": (notifier.service.ACCESS, notifier_pb2),
    "payouts": (payouts.service.ACCESS, payouts_pb2),
    "rewards": (rewards.service.ACCESS, rewards_pb2),
    "shares": (shares.service.ACCESS, shares_pb2),
    "stratum": (stratum.service.ACCESS, stratum_pb2),
}
CHANGES = {
    "gateway": {"miners.ChangeSettings"},
    "notifier": {"payouts.HoldPayouts", "payouts.ResumePayouts"},
    "rewards": {"shares.FixWindow"},
}
"""Caller → what it may change. A change of settings is signed by its owner; payouts on hold keep their money."""


def allowed(caller: str) -> set[str]:
    return {
        f"{name}.{method.name}"
        for name, (access, module) in SERVED.items()
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if access.allows(caller, method.name)
    }


@pytest.mark.parametrize("caller", sorted({*SERVICES} - {OPERATOR}))
def test_a_service_that_was_taken_over_changes_only_what_it_is_for(caller):
    """P2."""
    changes = {name for name in allowed(caller) if not name.partition(".")[2].startswith(READS)}
    assert changes == CHANGES.get(caller, set())


def test_who_faces_the_web_reads_nothing_that_is_not_shown_there():
    """P2: subscriptions hold people's mail addresses and the secrets of their webhooks."""
    assert {name.partition(".")[0] for name in allowed("gateway")} == {
        "miners",
        "payouts",
        "rewards",
        "shares",
        "stratum",
    }


def test_who_is_no_service_may_nothing():
    for caller in ("", "etcd", "root", "Gateway", "gateway.lodepool", "*"):
        assert not allowed(caller)
