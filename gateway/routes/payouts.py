"""Payments to miners."""

from collections.abc import Mapping

from gateway import examples, models, translation
from gateway.context import Gateway
from gateway.panels import need
from gateway.problems import Kind
from gateway.routing import COIN, PAGED, Route, page_of


async def list_payouts(gateway: Gateway, values: Mapping[str, str]) -> models.PayoutPage:
    """Answer a page of everybody's payments, newest first."""
    page = page_of(values, gateway.settings)
    answer = await need("payouts", gateway.sources.payouts("", page_size=page.size, page_token=page.token))
    return models.PayoutPage(
        payouts=[translation.payout(payout) for payout in answer.payouts],
        next_page_token=answer.next_page_token or None,
    )


ROUTES = (
    Route(
        path="/api/v1/payouts",
        operation_id="listPayouts",
        summary="Payments to all miners, newest first.",
        handler=list_payouts,
        answer=models.PayoutPage,
        example=examples.PAYOUT_PAGE,
        parameters=(*PAGED, COIN),
        problems=(Kind.BAD_PARAMETER, Kind.SERVICE_UNAVAILABLE),
    ),
)
