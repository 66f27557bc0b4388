"""Count what a worker process does."""

from dataclasses import dataclass, field

from stratum.errors import Outcome


@dataclass(slots=True)
class StratumMetrics:
    """Counters since the process began.

    Attributes:
        shares: Shares by outcome; recorded ones only.
        not_recorded: Good shares that were refused because they could not be recorded (D5); wants an alert.
        unattributed: Submits that are nobody's share: not subscribed, not authorised.
        overloaded: Submits that were refused unseen because too many wait to be hashed.
        blocks_found: Shares that met the network's target.
        connections: Connections accepted.
        connections_refused: Connections turned away at the gate.
        bans: Addresses banned.
        jobs: Jobs sent out.
    """

    shares: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    not_recorded: int = 0
    unattributed: int = 0
    overloaded: int = 0
    blocks_found: int = 0
    connections: int = 0
    connections_refused: int = 0
    bans: int = 0
    jobs: int = 0
