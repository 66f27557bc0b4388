"""The routes by noun: pool.py, blocks.py, miners.py, history.py, payouts.py, settings.py and the others.

Each module has its handlers and, at its end, `ROUTES` (and `CHANGES`); `all_routes` puts them together. A handler asks
the sources, translates, and raises ProblemFound; what belongs to HTTP is done in app.py for all of them.
"""

from gateway.routes import blocks, health, history, ledger, miners, payouts, pool, settings, status
from gateway.routing import Change, Route


def all_routes() -> tuple[Route, ...]:
    """Return the table of routes."""
    nouns = (pool, blocks, miners, history, payouts, settings, ledger, status, health)
    return tuple(route for noun in nouns for route in noun.ROUTES)


def all_changes() -> tuple[Change, ...]:
    """Return the table of what can be changed."""
    return settings.CHANGES
