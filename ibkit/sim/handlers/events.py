"""Requests for corporate events (Wall Street Horizon), and fundamentals, which are no more.

Not here: the events themselves (`ibkit.sim.wsh`).
"""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times, wsh
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway

MOST_EVENTS: Final = 100
AHEAD: Final = timedelta(days=365)
HISTORY: Final = timedelta(days=365)
UNSET: Final = 2147483647


def req_wsh_meta_data(client: Client, values: Record) -> None:
    """Answer with what kinds of events there are; without a licence error 10276."""
    check_licence(client)
    client.wsh_ready = True
    text = json.dumps(wsh.metadata(), separators=(",", ":"))
    client.send(r.WSH_META_DATA, req_id=values["req_id"], json=text)


def check_licence(client: Client) -> None:
    """Refuse a gateway that was told to have no licence for events."""
    if not client.gateway.wsh_licence:
        raise RefusedError(10276, "News feed is not allowed.")


def req_wsh_event_data(client: Client, values: Record) -> None:
    """Answer with events of one company or of a filter; the metadata must have come first."""
    check_licence(client)
    if not client.wsh_ready:
        raise RefusedError(10282, "WSH metadata was not requested.")
    if client.wsh_in_flight is not None:
        raise RefusedError(10283, "Duplicate WSH event request.")
    con_id = values["con_id"] or 0
    con_id = 0 if con_id == UNSET else con_id
    by_filter = read_filter(values["filter"])
    fills = any(values[f"fill_{kind}"] for kind in ("watchlist", "portfolio", "competitors"))
    if con_id and by_filter:
        raise invalid("Either conId or a filter may be given, not both.")
    if fills and not con_id:
        raise RefusedError(10309, "Fill Watchlist, Portfolio and Competitors need a conId.")
    client.wsh_in_flight = values["req_id"]
    try:
        found = find(client.gateway, values, con_id, by_filter)
    finally:
        client.wsh_in_flight = None
    text = json.dumps(found, separators=(",", ":"))
    client.send(r.WSH_EVENT_DATA, req_id=values["req_id"], json=text)


def read_filter(text: str) -> dict[str, Any]:
    """Return a filter such as ``{"watchlist": ["265598"], "wshe_ed": "true"}``."""
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise invalid("The filter is no JSON.") from None
    if not isinstance(found, dict):
        raise invalid("The filter is no JSON object.")
    return found


def find(
    gateway: Gateway, values: Record, con_id: int, by_filter: dict[str, Any]
) -> list[wsh.Event]:
    """Return the events that a request means, the nearest to its start first."""
    now = gateway.clock.now()
    today = times.day_of(now, "US/Eastern")
    first = read_day(values["start_date"], today - HISTORY)
    last = read_day(values["end_date"], today + AHEAD)
    kinds = wsh.wanted_types(by_filter.items())
    limit = values["total_limit"]
    limit = MOST_EVENTS if limit in {None, UNSET} else limit
    if not 0 < limit <= MOST_EVENTS:
        raise invalid(f"The total limit must be from 1 to {MOST_EVENTS}.")
    found = [
        event
        for one in companies(gateway, values, con_id, by_filter)
        for event in wsh.events(
            gateway.seed,
            one,
            first,
            last,
            today=today,
            price=gateway.market.quote(one, now).close or 0,
        )
        if not kinds or event["event_type"] in kinds
    ]
    found.sort(key=lambda event: (event["index_date"], event["event_key"]))
    return found[:limit]


def companies(
    gateway: Gateway, values: Record, con_id: int, by_filter: dict[str, Any]
) -> list[Instrument]:
    """Return whose events are meant: one company's, a list's, the portfolio's, or everybody's."""
    ids: set[int] = {con_id} if con_id else set()
    listed = by_filter.get("watchlist") or []
    ids |= {int(text) for text in listed if str(text).isdecimal()}
    if values["fill_portfolio"]:
        ids |= {one.instrument.con_id for one in gateway.account.positions()}
    if not ids and not listed and by_filter:
        return [one for one in gateway.universe.instruments if wsh.is_company(one)]
    return [one for number in sorted(ids) if (one := gateway.universe.by_con_id(number))]


def read_day(text: str, default: date) -> date:
    """Return a day written as yyyymmdd."""
    if not text:
        return default
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        raise invalid(f"Invalid date {text}") from None


def cancel_wsh(client: Client, _values: Record) -> None:
    """Accept silently: answers come at once."""
    client.wsh_in_flight = None


def req_fundamental_data(_client: Client, values: Record) -> None:
    """Refuse, as IB does since it gave up Reuters' fundamentals."""
    if values["report_type"] == "CalendarReport":
        raise RefusedError(
            430, "The fundamentals data for the security specified is not available.Not allowed"
        )
    raise RefusedError(10358, "Fundamentals data is not allowed")


HANDLERS: Final = {
    "req_wsh_meta_data": req_wsh_meta_data,
    "req_wsh_event_data": req_wsh_event_data,
    "cancel_wsh_meta_data": cancel_wsh,
    "cancel_wsh_event_data": cancel_wsh,
    "req_fundamental_data": req_fundamental_data,
}
