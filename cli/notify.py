"""`lodepool notify`: who is told what, and what became of it."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from cli.options import as_dict, config_option, json_option, limit_option, print_facts, print_json, print_rows
from cli.reading import Services, read, time_text
from cli.settings import Settings, load_settings
from proto.lodepool.notifier.v1 import notifier_pb2
from runtime.errors import UserError
from runtime.rpc.client import call

CHANNELS: Final = {
    "telegram": notifier_pb2.CHANNEL_TELEGRAM,
    "email": notifier_pb2.CHANNEL_EMAIL,
    "webhook": notifier_pb2.CHANNEL_WEBHOOK,
}
STATES: Final = {
    "pending": notifier_pb2.DELIVERY_STATUS_PENDING,
    "delivered": notifier_pb2.DELIVERY_STATUS_DELIVERED,
    "dead": notifier_pb2.DELIVERY_STATUS_DEAD,
    "skipped": notifier_pb2.DELIVERY_STATUS_SKIPPED,
}
KINDS: Final = {
    name.removeprefix("NOTICE_KIND_").lower().replace("_", "-"): number
    for name, number in notifier_pb2.NoticeKind.items()
    if number
}
_CHANNEL_WORDS: Final = {number: word for word, number in CHANNELS.items()}
_STATE_WORDS: Final = {number: word for word, number in STATES.items()}
_KIND_WORDS: Final = {number: word for word, number in KINDS.items()}
_REPLAYED_MAX: Final = 1000


@click.group(
    invoke_without_command=True,
    epilog="Example: lodepool notify; lodepool notify add email you@example.org --account …",
)
@config_option
@limit_option
@json_option
@click.pass_context
def notify(context: click.Context, config: Path, limit: int, *, as_json: bool) -> None:
    """List who is told what, oldest first, or change it."""
    settings = load_settings(config)
    context.obj = settings
    if context.invoked_subcommand:
        return
    request = notifier_pb2.ListSubscriptionsRequest(page_size=limit)
    answer = read(settings, lambda stubs: call(stubs.notifier.ListSubscriptions, request))
    if as_json:
        print_json([as_dict(subscription) for subscription in answer.subscriptions])
        return
    rows = [
        (
            s.subscription_id,
            _CHANNEL_WORDS[s.channel],
            s.address,
            s.account or "(the pool)",
            ", ".join(_KIND_WORDS[kind] for kind in s.kinds) or "what fits",
            f"paused{f': {s.pause_reason}' if s.pause_reason else ''}" if s.is_paused else "active",
        )
        for s in answer.subscriptions
    ]
    columns = ("id", "channel", "to", "about", "told", "state")
    print_rows("Subscriptions", columns, rows, empty="Nobody is told anything yet.")


@notify.command(
    epilog="Example: lodepool notify add webhook https://example.org/hook --kind block-found --kind trouble"
)
@click.argument("channel", type=click.Choice(list(CHANNELS)))
@click.argument("address")
@click.option("--account", default="", help="The account it is about; without one the pool.")
@click.option("--worker", "worker_pattern", default="", help="Which of its workers: a name with * for any characters.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Repeatable; without one what fits."
)
@click.option("--language", type=click.Choice(["en", "ru"]), default="en", show_default=True)
@click.option("--time-zone", default="UTC", show_default=True, help="IANA name, such as Europe/Berlin.")
@click.option("--quiet", default="", metavar="HH:MM-HH:MM", help="Hours in which only trouble is told.")
@click.option("--digest", "digest_min", type=click.IntRange(0, 10_080), default=0, help="Minutes to collect for.")
@click.option(
    "--cooldown", "cooldown_s", type=click.IntRange(0, 86_400), default=0, help="Seconds between repetitions."
)
@json_option
@click.pass_context
def add(
    context: click.Context,
    channel: str,
    address: str,
    account: str,
    worker_pattern: str,
    kinds: Sequence[str],
    language: str,
    time_zone: str,
    quiet: str,
    digest_min: int,
    cooldown_s: int,
    *,
    as_json: bool,
) -> None:
    """Tell somebody: CHANNEL is telegram, email or webhook, ADDRESS a chat id, an address of mail or a URL.

    Without --account it is about the pool: blocks, and what the operator has to know.
    """
    start_min, end_min = parse_quiet(quiet)
    settings: Settings = context.obj
    subscription = notifier_pb2.Subscription(
        channel=CHANNELS[channel],
        address=address,
        account=account,
        coin=settings.coin.coin_id if account else "",
        worker_pattern=worker_pattern,
        kinds=[KINDS[kind] for kind in kinds],
        language=language,
        time_zone=time_zone,
        quiet_start_min=start_min,
        quiet_end_min=end_min,
        digest_min=digest_min,
        cooldown_s=cooldown_s,
    )
    request = notifier_pb2.CreateSubscriptionRequest(subscription=subscription, request_id=str(uuid.uuid4()))
    made = read(settings, lambda stubs: call(stubs.notifier.CreateSubscription, request))
    if as_json:
        print_json(as_dict(made))
        return
    click.echo(f"Subscription {made.subscription_id} is made. Try it: lodepool notify test {made.subscription_id}")
    if made.webhook_secret:
        click.echo(f"Its messages are signed with {made.webhook_secret} (shown only now).")


@notify.command(epilog="Example: lodepool notify remove 17")
@click.argument("subscription_id")
@click.pass_context
def remove(context: click.Context, subscription_id: str) -> None:
    """End a subscription."""
    request = notifier_pb2.DeleteSubscriptionRequest(subscription_id=subscription_id, request_id=str(uuid.uuid4()))
    read(context.obj, lambda stubs: call(stubs.notifier.DeleteSubscription, request))
    click.echo(f"Subscription {subscription_id} is ended.")


@notify.command(epilog="Example: lodepool notify pause 17")
@click.argument("subscription_id")
@click.pass_context
def pause(context: click.Context, subscription_id: str) -> None:
    """Send nothing to a subscription until `lodepool notify resume`; what happens meanwhile is not told later."""
    _set_paused(context.obj, subscription_id, is_paused=True)
    click.echo(f"Subscription {subscription_id} is paused.")


@notify.command(epilog="Example: lodepool notify resume 17")
@click.argument("subscription_id")
@click.pass_context
def resume(context: click.Context, subscription_id: str) -> None:
    """Send to a subscription again."""
    _set_paused(context.obj, subscription_id, is_paused=False)
    click.echo(f"Subscription {subscription_id} is active.")


@notify.command(epilog="Example: lodepool notify secret 17")
@click.argument("subscription_id")
@json_option
@click.pass_context
def secret(context: click.Context, subscription_id: str, *, as_json: bool) -> None:
    """Give a webhook a new secret; for a while messages are signed with the old one too."""
    request = notifier_pb2.RotateSecretRequest(subscription_id=subscription_id, request_id=str(uuid.uuid4()))
    answer = read(context.obj, lambda stubs: call(stubs.notifier.RotateSecret, request))
    if as_json:
        print_json({"subscription_id": subscription_id, "webhook_secret": answer.webhook_secret})
        return
    hours = context.obj.notifier.webhook.secret_overlap_h
    click.echo(f"The new secret is {answer.webhook_secret}; the old one is good for another {hours} hours.")


@notify.command(epilog="Example: lodepool notify test 17")
@click.argument("subscription_id")
@json_option
@click.pass_context
def test(context: click.Context, subscription_id: str, *, as_json: bool) -> None:
    """Send a test, past quiet hours and digests. `lodepool notify list` shows what became of it."""
    request = notifier_pb2.SendTestNoticeRequest(subscription_id=subscription_id, request_id=str(uuid.uuid4()))
    delivery = read(context.obj, lambda stubs: call(stubs.notifier.SendTestNotice, request))
    if as_json:
        print_json(as_dict(delivery))
        return
    click.echo(f"Delivery {delivery.delivery_id} is queued.")


@notify.command(name="list", epilog="Example: lodepool notify list --state dead --json")
@click.option("--state", type=click.Choice(list(STATES)), help="Only those.")
@click.option("--subscription", "subscription_id", default="", help="Only to this one.")
@limit_option
@json_option
@click.pass_context
def list_notices(context: click.Context, state: str | None, subscription_id: str, limit: int, *, as_json: bool) -> None:
    """List notices to subscriptions, newest first, with what became of them."""
    request = notifier_pb2.ListNoticesRequest(
        subscription_id=subscription_id,
        status=STATES[state] if state else notifier_pb2.DELIVERY_STATUS_UNSPECIFIED,
        page_size=limit,
    )
    answer = read(context.obj, lambda stubs: call(stubs.notifier.ListNotices, request))
    if as_json:
        print_json([as_dict(delivery) for delivery in answer.deliveries])
        return
    rows = [
        (
            d.delivery_id,
            time_text(d.create_time_ms),
            d.subscription_id,
            d.text.partition("\n")[0],
            _STATE_WORDS[d.status],
            d.attempt_count,
            time_text(d.deliver_time_ms or d.next_attempt_time_ms),
            d.last_error,
        )
        for d in answer.deliveries
    ]
    columns = ("id", "queued (UTC)", "to", "notice", "state", "tries", "delivered, or next (UTC)", "last error")
    print_rows("Notices", columns, rows, empty="Nothing has been told yet.")


@notify.command(epilog="Example: lodepool notify replay 4711; lodepool notify replay --all")
@click.argument("delivery_id", required=False)
@click.option("--all", "is_all", is_flag=True, help="Everything that was given up.")
@json_option
@click.pass_context
def replay(context: click.Context, delivery_id: str | None, *, is_all: bool, as_json: bool) -> None:
    """Send again what was given up: one delivery, or all."""
    if (delivery_id is None) != is_all:
        raise UserError("Name a delivery, or say --all.", "`lodepool notify list --state dead` shows them")

    async def work(stubs: Services) -> list[notifier_pb2.Delivery]:
        ids = [delivery_id] if delivery_id is not None else await _dead(stubs)
        return [
            await call(
                stubs.notifier.ReplayNotice,
                notifier_pb2.ReplayNoticeRequest(delivery_id=each, request_id=str(uuid.uuid4())),
            )
            for each in ids
        ]

    found = read(context.obj, work)
    if as_json:
        print_json([as_dict(delivery) for delivery in found])
        return
    print_facts({f"delivery {each.delivery_id}": _STATE_WORDS[each.status] for each in found})


def parse_quiet(text: str) -> tuple[int, int]:
    """Return the minutes after midnight of "23:00-07:30"; equal ones for "".

    Raises:
        UserError: When it is not of this form.
    """
    if not text:
        return 0, 0
    minutes = []
    for part in text.split("-"):
        hour, colon, minute = part.strip().partition(":")
        if not colon or not (hour.isdecimal() and minute.isdecimal()) or int(hour) > 23 or int(minute) > 59:
            raise UserError(f'"{text}" is not quiet hours.', "such as 23:00-07:30")
        minutes.append(int(hour) * 60 + int(minute))
    if len(minutes) != 2:
        raise UserError(f'"{text}" is not quiet hours.', "such as 23:00-07:30")
    return minutes[0], minutes[1]


async def _dead(stubs: Services) -> list[str]:
    request = notifier_pb2.ListNoticesRequest(status=notifier_pb2.DELIVERY_STATUS_DEAD, page_size=_REPLAYED_MAX)
    answer = await call(stubs.notifier.ListNotices, request)
    return [delivery.delivery_id for delivery in answer.deliveries]


def _set_paused(settings: Settings, subscription_id: str, *, is_paused: bool) -> None:
    async def work(stubs: Services) -> None:
        token = ""
        while True:
            request = notifier_pb2.ListSubscriptionsRequest(page_size=1000, page_token=token)
            page = await call(stubs.notifier.ListSubscriptions, request)
            for found in page.subscriptions:
                if found.subscription_id == subscription_id:
                    found.is_paused = is_paused
                    change = notifier_pb2.UpdateSubscriptionRequest(subscription=found, request_id=str(uuid.uuid4()))
                    await call(stubs.notifier.UpdateSubscription, change)
                    return
            token = page.next_page_token
            if not token:
                raise UserError(f"There is no subscription {subscription_id}.", "`lodepool notify` lists them")

    read(settings, work)
