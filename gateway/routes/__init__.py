"""The routes by noun: pool.py, blocks.py, miners.py, history.py, payouts.py, ledger.py, status.py, health.py.

Each module has its handlers and, at its end, `ROUTES`; `all_routes` puts them together. A handler asks the sources,
translates, and raises ProblemFound; what belongs to HTTP is done in app.py for all of them.
"""

from gateway.routes import blocks, health, history, ledger, miners, payouts, pool, status
from gateway.routing import Route


def all_routes() -> tuple[Route, ...]:
    """Return the table of routes."""
    nouns = (pool, blocks, miners, history, payouts, ledger, status, health)
    return tuple(route for noun in nouns for route in noun.ROUTES)
