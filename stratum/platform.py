"""What a stratum worker is given to run on: no database and no event log, so that it serves miners without them."""

from collections.abc import Callable
from dataclasses import dataclass

from runtime.clock import Clock
from runtime.serving import Serving
from runtime.telemetry import Telemetry
from stratum.lease import PrefixSource


@dataclass(frozen=True, slots=True, kw_only=True)
class StratumPlatform:
    """The worker's surroundings, built by the composition root.

    Attributes:
        clock: The time.
        serve: Offers the gRPC server to the others, under the service name "stratum": on one machine its directory
            says where this one worker listens.
        prefixes: Where the worker gets its piece of the search space.
        telemetry: Metrics and traces.
        ready: Called with the worker's name once it serves.
    """

    clock: Clock
    serve: Serving
    prefixes: PrefixSource
    telemetry: Telemetry
    ready: Callable[[str], None]
