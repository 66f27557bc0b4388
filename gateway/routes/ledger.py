"""The ledger's sums."""

from collections.abc import Mapping

from gateway import examples, models, translation
from gateway.context import Gateway
from gateway.panels import need
from gateway.problems import Kind
from gateway.routing import COIN, Route


async def get_ledger(gateway: Gateway, _values: Mapping[str, str]) -> models.Ledger:
    """Answer the sums that anybody can check against one another."""
    totals = await need("rewards", gateway.sources.ledger_totals())
    return translation.ledger(totals, coin_id=gateway.coin.coin_id)


ROUTES = (
    Route(
        path="/api/v1/ledger",
        operation_id="getLedger",
        summary="Where all the money is: the ledger's sums.",
        handler=get_ledger,
        answer=models.Ledger,
        example=examples.LEDGER,
        parameters=(COIN,),
        problems=(Kind.SERVICE_UNAVAILABLE,),
    ),
)
