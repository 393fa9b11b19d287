"""Requests for news: providers, articles, headlines of the past, bulletins.

Not here: where the news come from (`ibkit.sim.newsroom`); headlines on a market data line are
generic tick 292 (`handlers.lines`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim import times
from ibkit.sim.handlers.refusal import RefusedError, invalid, no_definition
from ibkit.sim.newsroom import PROVIDERS
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

MOST_HEADLINES: Final = 300
LOOK_BACK_S: Final = 30 * 86_400
TEXT_ARTICLE: Final = 0


def req_news_providers(client: Client, _values: Record) -> None:
    """Answer with the providers that everybody has."""
    client.send(r.NEWS_PROVIDERS, providers=list(PROVIDERS.items()))


def req_news_article(client: Client, values: Record) -> None:
    """Answer with the text of an article."""
    gateway = client.gateway
    text = gateway.newsroom.article(values["article_id"], gateway.universe.by_con_id)
    if text is None or values["provider"] not in PROVIDERS:
        raise RefusedError(10172, f"Failed to request news article:{values['article_id']}")
    client.send(r.NEWS_ARTICLE, req_id=values["req_id"], article_type=TEXT_ARTICLE, text=text)


def req_historical_news(client: Client, values: Record) -> None:
    """Answer with headlines, the newest first, and whether there are more."""
    gateway = client.gateway
    instrument = gateway.universe.by_con_id(values["con_id"])
    if instrument is None:
        raise no_definition()
    providers = frozenset(values["providers"].split("+")) - {""}
    if not providers or not providers <= PROVIDERS.keys():
        raise RefusedError(10174, "Failed to request historical news:Invalid provider code")
    now = gateway.clock.now()
    end = min(read_time(values["end"], now), now)
    start = read_time(values["start"], end - LOOK_BACK_S)
    if not 0 < values["total"] <= MOST_HEADLINES:
        raise invalid(f"Invalid number of headlines {values['total']}")
    found = gateway.newsroom.stories(instrument, start, end, providers)[::-1]
    for story in found[: values["total"]]:
        client.send(
            r.HISTORICAL_NEWS,
            req_id=values["req_id"],
            time=times.utc_text(story.time, "%Y-%m-%d %H:%M:%S.0"),
            provider=story.provider,
            article_id=story.article_id,
            headline=story.headline,
        )
    more = len(found) > values["total"]
    client.send(r.HISTORICAL_NEWS_END, req_id=values["req_id"], has_more=more)


def read_time(text: str, default: float) -> float:
    """Return a time of the news service, ``2026-10-30 19:45:00.0`` or any of IB's own forms."""
    if not text.strip():
        return default
    words = text.strip().partition(".")[0]
    if words[4:5] == "-" == words[7:8]:
        words = words.replace("-", "", 2)
    try:
        return times.parse_time(words, "UTC")[0]
    except times.TimeTextError as error:
        raise invalid(f"Invalid date/time: {error}") from None


def req_news_bulletins(client: Client, values: Record) -> None:
    """Send bulletins from now on, and those so far if all were asked for."""
    client.streams.bulletins = True
    so_far = client.gateway.newsroom.bulletins
    client.bulletins_told = 0 if values["all_messages"] else len(so_far)
    send_bulletins(client, client.gateway.clock.now())
    client.gateway.stream.wake()


def cancel_news_bulletins(client: Client, _values: Record) -> None:
    """Send no more bulletins."""
    client.streams.bulletins = False


def send_bulletins(client: Client, _now: float) -> None:
    """Send the bulletins that are new to a client."""
    if not client.streams.bulletins:
        return
    for bulletin in client.gateway.newsroom.bulletins[client.bulletins_told :]:
        client.send(
            r.NEWS_BULLETIN,
            message_id=bulletin.number,
            message_type=bulletin.kind,
            text=bulletin.text,
            exchange=bulletin.exchange,
        )
        client.bulletins_told = bulletin.number


HANDLERS: Final = {
    "req_news_providers": req_news_providers,
    "req_news_article": req_news_article,
    "req_historical_news": req_historical_news,
    "req_news_bulletins": req_news_bulletins,
    "cancel_news_bulletins": cancel_news_bulletins,
}
