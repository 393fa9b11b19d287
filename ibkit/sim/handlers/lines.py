"""One line of market data: what it is entitled to, its first ticks, and the changes after them.

Not here: the requests that open and close lines (`handlers.quotes`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ibkit.sim import greeks, times
from ibkit.sim.generics import Facts, generic_ticks, trade_ticks
from ibkit.sim.newsroom import PROVIDERS
from ibkit.sim.optionmarket import model_volatility
from ibkit.sim.quotes import (
    DELAYED,
    DELAYED_FROZEN,
    FROZEN,
    LIVE,
    Subscription,
    first_ticks,
    next_ticks,
    params,
    traded,
)
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.quotes import Tick
    from ibkit.sim.screen import Quote
    from ibkit.sim.server import Gateway

AVAILABLE: Final = "Delayed market data is available."
NOT_SUBSCRIBED: Final = (
    "Requested market data is not subscribed. Check API status by selecting the Account menu then "
    "under Management choose Market Data Subscription Manager and/or availability of delayed data."
)
NEEDS_MORE: Final = (
    "Requested market data requires additional subscription for API. See link in 'Market Data "
    "Connections' dialog for more details."
)
PARTLY: Final = (
    "Part of requested market data is not subscribed. Subscription-independent ticks are still "
    "active."
)
SHOWING_DELAYED: Final = "Requested market data is not subscribed. Displaying delayed market data."
NOT_EVEN_DELAYED: Final = (
    "Requested market data is not subscribed. Delayed market data is not enabled."
)
COMPETING: Final = "No market data during competing live session"
NEWS_TICK: Final = 292
NEWS_EVERY_S: Final = 5.0
BACK: Final = timedelta(days=15)


def named(instrument: Instrument) -> str:
    """Return how the texts of refusals call an instrument."""
    place = instrument.primary_exchange or instrument.exchange
    return f"{instrument.symbol} {place} ({instrument.local_symbol}) /TOP/ALL"


def frozen_now(gateway: Gateway, instrument: Instrument, now: float) -> bool:
    """Whether the market stands still, so that frozen quotes are the only ones."""
    market = gateway.market
    return not (getattr(market, "always_open", False) or market.is_open(instrument, now))


def begin(client: Client, sub: Subscription) -> bool:
    """Send the first ticks of a line; return False when there will never be any."""
    wants_delayed = sub.wanted_type >= DELAYED
    match client.gateway.entitlements.level(sub.instrument):
        case "none":
            return _refuse(client, sub, 10168, NOT_EVEN_DELAYED)
        case "delayed" if not wants_delayed:
            return _refuse(client, sub, 354, f"{NOT_SUBSCRIBED}{AVAILABLE}{named(sub.instrument)}")
        case "api" if not wants_delayed:
            text = f"{NEEDS_MORE}[{AVAILABLE}{named(sub.instrument)}]"
            return _refuse(client, sub, 10089, text)
        case "partly" if not wants_delayed:
            client.error(sub.req_id, 10090, f"{PARTLY}{AVAILABLE}{named(sub.instrument)}")
            _begin_independent(client, sub)
        case "competing":
            compete(client, sub)
        case "live":
            sub.tell(_type(client, sub, LIVE))
            _send_first(client, sub)
        case _:
            sub.tell(_type(client, sub, DELAYED))
            _send_first(client, sub)
    return True


def _refuse(client: Client, sub: Subscription, code: int, text: str) -> bool:
    """Say what the instrument is and that its prices are not for this client."""
    sub.tell(DELAYED)
    send(client, sub.req_id, [params(sub)])
    client.error(sub.req_id, code, text)
    return False


def _begin_independent(client: Client, sub: Subscription) -> None:
    """Send what needs no subscription: the kind of data, the instrument, the generic ticks."""
    sub.tell(LIVE)
    sub.silent = True
    message, values = params(sub)
    facts = _facts(client, sub)
    send(client, sub.req_id, [(r.MARKET_DATA_TYPE, (LIVE,)), (message, values)])
    send(client, sub.req_id, generic_ticks(sub.generic, facts))


def compete(client: Client, sub: Subscription) -> None:
    """Silence a line: another session of the same user has the data."""
    sub.silent = True
    client.error(sub.req_id, 10197, COMPETING)


def _type(client: Client, sub: Subscription, base: int) -> int:
    """Return live or delayed, or its frozen twin when that was asked for and the market is shut."""
    wants_frozen = sub.wanted_type in {FROZEN, DELAYED_FROZEN}
    gateway = client.gateway
    if wants_frozen and frozen_now(gateway, sub.instrument, gateway.clock.now()):
        return base + 1
    return base


def retell(client: Client, sub: Subscription) -> None:
    """Change an open line to the kind of data that is wanted and possible now."""
    level = client.gateway.entitlements.level(sub.instrument)
    if level == "live":
        base = LIVE
    elif level in {"delayed", "partly", "api"} and sub.wanted_type >= DELAYED:
        base = DELAYED
    else:
        return
    wanted = _type(client, sub, base)
    if wanted != sub.data_type or sub.silent:
        sub.silent = False
        sub.tell(wanted)
        _send_first(client, sub)


def look(gateway: Gateway, sub: Subscription, now: float) -> Quote:
    """Return what a line shows at `now`: delayed, frozen, or as it is."""
    if sub.data_type in {FROZEN, DELAYED_FROZEN}:
        return frozen_quote(gateway, sub.instrument, now)
    return quote_of(gateway, sub.instrument, now - sub.delay)


def quote_of(gateway: Gateway, instrument: Instrument, at: float) -> Quote:
    """Return a quote; that of a combination is made of its legs'."""
    if instrument.sec_type == "BAG":
        return gateway.exchange.watch.quote(instrument, at)
    return gateway.market.quote(instrument, at)


def frozen_quote(gateway: Gateway, instrument: Instrument, now: float) -> Quote:
    """Return the last quote before the market closed."""
    today = times.day_of(now, instrument.time_zone_id)
    found = gateway.market.sessions(instrument, today - BACK, today, use_rth=False)
    ends = [session.end for session in found if session.end <= now]
    return quote_of(gateway, instrument, (ends[-1] if ends else now) - 1)


def _send_first(client: Client, sub: Subscription) -> None:
    """Send everything that is known now."""
    now = client.gateway.clock.now()
    if sub.data_type >= DELAYED:
        send(client, sub.req_id, [(r.MARKET_DATA_TYPE, (sub.data_type,))])
        client.error(sub.req_id, 10167, SHOWING_DELAYED)
    sub.seen = look(client.gateway, sub, now)
    ticks = list(first_ticks(sub, sub.seen))
    send(client, sub.req_id, ticks[1:] if sub.data_type >= DELAYED else ticks)
    if sub.generic:
        send(client, sub.req_id, generic_ticks(sub.generic, _facts(client, sub)))
    send_options(client, sub, sub.seen, None)
    sub.due = next_look(sub.instrument, now)


def _facts(client: Client, sub: Subscription, quote: Quote | None = None) -> Facts:
    gateway = client.gateway
    now = gateway.clock.now()
    return Facts(
        gateway.market, gateway.seed, sub.instrument, quote or look(gateway, sub, now), now
    )


def send(client: Client, req_id: int, ticks: Iterable[Tick]) -> None:
    """Send ticks of one line."""
    for message, values in ticks:
        client.send_line(message, (req_id, *values))


def next_look(instrument: Instrument, now: float) -> float:
    """Return when a line is due again: once a second, each instrument at its own moment of it."""
    return math.floor(now) + 1 + (instrument.con_id * 7919 % 97) / 100


def update(
    client: Client, sub: Subscription, now: float, quotes: dict[tuple[int, int], Quote]
) -> None:
    """Send what changed on a line; `quotes` are those already looked at in this step."""
    sub.due = next_look(sub.instrument, now)
    if NEWS_TICK in sub.generic:
        send_news(client, sub, now)
    level = client.gateway.entitlements.level(sub.instrument)
    if (level == "competing") != (sub.silent and level != "partly"):
        if level == "competing":
            compete(client, sub)
        else:
            retell(client, sub)
        return
    if sub.silent:
        return
    if sub.wanted_type in {FROZEN, DELAYED_FROZEN}:
        retell(client, sub)
    key = (sub.instrument.con_id, sub.data_type)
    quote = quotes.get(key)
    if quote is None:
        quote = quotes[key] = look(client.gateway, sub, now)
    seen = sub.seen
    assert seen is not None
    if quote is seen:
        return
    send(client, sub.req_id, next_ticks(sub, quote))
    if sub.generic and traded(quote, seen):
        send(client, sub.req_id, trade_ticks(sub.generic, _facts(client, sub, quote)))
    send_options(client, sub, quote, seen)
    sub.seen = quote


def send_news(client: Client, sub: Subscription, now: float) -> None:
    """Send the headlines that came out since the last ones."""
    if now - sub.news_since < NEWS_EVERY_S:
        return
    gateway = client.gateway
    providers = sub.news_from or frozenset(PROVIDERS)
    for story in gateway.newsroom.stories(sub.instrument, sub.news_since, now, providers):
        client.send(
            r.TICK_NEWS,
            req_id=sub.req_id,
            time=int(story.time * 1000),
            provider=story.provider,
            article_id=story.article_id,
            headline=story.headline,
            extra_data="",
        )
    sub.news_since = now


def send_options(client: Client, sub: Subscription, quote: Quote, seen: Quote | None) -> None:
    """Send the computations of an option's bid, ask, last and model, where they changed."""
    if sub.instrument.sec_type not in {"OPT", "FOP"}:
        return
    gateway = client.gateway
    under = gateway.universe.by_con_id(sub.instrument.under_con_id)
    if under is None:
        return
    now = gateway.clock.now() - sub.delay
    shown = replace(quote, high=None, low=None)
    for computed in greeks.computations(
        sub.instrument,
        shown,
        seen,
        gateway.market.quote(under, now),
        now,
        lambda spot: model_volatility(gateway.seed, sub.instrument, spot, now),
    ):
        kind = computed.kind + (70 if sub.data_type >= DELAYED else 0)
        client.send_line(r.TICK_OPTION, (sub.req_id, kind, *computed.values()))
