"""The routes by noun: pool.py, blocks.py, miners.py, payouts.py, ledger.py, health.py.

Each module has its handlers and, at its end, `ROUTES`; `all_routes` puts them together. A handler asks the sources,
translates, and raises ProblemFound; what belongs to HTTP is done in app.py for all of them.
"""

from gateway.routes import blocks, health, ledger, miners, payouts, pool
from gateway.routing import Route


def all_routes() -> tuple[Route, ...]:
    """Return the table of routes."""
    return (*pool.ROUTES, *blocks.ROUTES, *miners.ROUTES, *payouts.ROUTES, *ledger.ROUTES, *health.ROUTES)
