"""What the service offers: the listener, its figures, dead letters, health."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from band import RedisError, Service, logger
from band.platform import READ_BYTES, DeadLetters, Letter
from send_mixpanel.client import Client
from send_mixpanel.condition import dead_letter_facts, sender_health
from send_mixpanel.delivery import Delivery, describe
from send_mixpanel.options import SECRET_RETIRED, Options

REPLAY_MOST = 2000
# Returning late is this listener's way to wait, so it never gives a batch up by raising.
_NEVER = 1_000_000_000


def make_service(options: Options) -> Service:
    """Return the service that delivers as the options say; they are also the listener's own: batches, time, number."""
    service = Service()
    link = service.link
    client = Client(options.timeout)
    delivery = Delivery(options, client, link, (RedisError,))
    dead_letters = _offer_dead_letters(service, delivery)

    @service.expose.listener(
        batch=options.batch_events,
        batch_bytes=options.batch_bytes,
        linger=options.linger,
        in_flight=options.in_flight,
        max_attempts=_NEVER,
        # Mixpanel counts people: events of those who object (GPC, refused consent) are not for it.
        personal=True if options.withhold_objected else None,
    )
    async def broadcast(events: list[dict[str, Any]]) -> None:
        """Take a batch of events; they are acknowledged when this returns."""
        await delivery.deliver(events)

    @service.worker
    async def start() -> None:
        """Say how we are signed in, then bring what was held for projects in trouble."""
        _tell_accounts(delivery)
        await delivery.drain_held()

    @service.cleanup
    async def stop() -> None:
        """Close the connections to Mixpanel."""
        await client.close()

    @service.expose()
    async def stats() -> dict[str, Any]:
        """Figures since the start: by project, left out, unusable, held; and how many dead letters there are now."""
        return {
            "projects": {name: describe(sender) for name, sender in delivery.senders.items() if not sender.idle},
            "left_out": delivery.skipped,
            "unusable": delivery.unusable,
            "held": await delivery.count_held(),
            "dead_letters": await delivery.dead.length(),
            "replay": dead_letters.figures or None,
        }

    @service.expose(http=False)
    async def trace(id: str = "") -> dict[str, Any]:  # noqa: A002 - the name in the call
        """What became of the event `id`, if it is one of the last 20,000 of this life, or a dead letter of any."""
        found = delivery.history.find(id) or (await delivery.find_dead(str(id)) if link.connected else None)
        return found or {"outcome": "unknown", "hint": "not among the last events of this service"}

    @service.health("mixpanel")
    async def mixpanel() -> dict[str, Any]:
        """The worst of all projects first, then how many dead letters wait for somebody."""
        facts = _worst(delivery)
        if link.connected:
            facts |= dead_letter_facts(facts, await delivery.dead.length(), options.dead_letters_max)
            if held := await delivery.count_held():
                facts["held"] = held
        return facts

    return service


def _offer_dead_letters(service: Service, delivery: Delivery) -> DeadLetters:
    """Expose the methods of dead letters, of which a replay goes straight to Mixpanel."""

    async def give(letters: list[Letter]) -> AsyncIterator[Mapping[str, int]]:
        yield await delivery.replay(letters)

    dead_letters = DeadLetters(
        delivery.dead, service.link, give, service.scheduler.spawn,
        entries=REPLAY_MOST, size=READ_BYTES, most=REPLAY_MOST, strict=False,
    )  # fmt: skip
    for method in dead_letters.methods().values():
        service.expose(http=False)(method)
    return dead_letters


def _tell_accounts(delivery: Delivery) -> None:
    options = delivery.options
    for sender in delivery.senders.values():
        if sender.ordered:
            continue
        if not sender.usable and sender.project is options.default and options.projects:
            continue  # a table of projects without a default is a choice
        logger.info("mixpanel", project=sender.project.name, url=sender.project.url, signed_in_with=sender.project.kind)
        if not sender.usable:
            logger.warning("mixpanel_credentials_missing", project=sender.project.name, hint=sender.project.hint)
        if sender.project.retiring:
            logger.warning("mixpanel_api_secret_retires", on=SECRET_RETIRED.isoformat(), hint="set MIXPANEL_TOKEN")


def _worst(delivery: Delivery) -> dict[str, Any]:
    """Return the health of the project that is worst, and of each where there are several."""
    options = delivery.options
    senders = [
        sender
        for sender in delivery.senders.values()
        if not sender.idle and (sender.usable or not (sender.project is options.default and options.projects))
    ]
    checks = {sender.name: sender_health(sender) for sender in senders}
    order = ("failing", "degraded", "ok")
    worst = min(checks.values(), key=lambda check: order.index(check["status"]))
    facts = {"taken": sum(sender.state.taken for sender in senders), **worst}
    if len(checks) > 1:
        facts["projects"] = checks
    return facts
