"""Requests for live prices: subscribe, snapshot, cancel, and the kind of market data.

Not here: the ticks themselves (`ibkit.sim.quotes`) and their rhythm (`ibkit.sim.stream`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.quotes import Subscription, first_ticks
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

MAX_LINES: Final = 100
# number and IB's words for the generic ticks that a stock may ask for
GENERIC: Final = {
    100: "Option Volume",
    101: "Option Open Interest",
    104: "Historical Volatility",
    105: "Average Option Volume",
    106: "Option Implied Volatility",
    162: "Index Future Premium",
    165: "Miscellaneous Stats",
    221: "Mark Price",
    225: "Auction Values",
    232: "Pl Price",
    233: "RTVolume",
    236: "Shortable",
    256: "Inventory",
    258: "Fundamental Ratios",
    292: "Wide News",
    293: "TradeCount",
    294: "TradeRate",
    295: "VolumeRate",
    318: "LastRTHTrade",
    375: "RTTrdVolume",
    411: "RTHistVol",
    456: "IBDividends",
    460: "Bond Factor Multiplier",
    576: "EtfNavLast",
    577: "EtfNavClose",
    578: "EtfNavPriorClose",
    586: "IPOHLPRC",
    588: "Futures Open Interest",
    595: "Short-Term Volume X Mins",
    614: "EtfNavMisc",
    619: "Creditman Slow Mark Price",
    623: "EtfFrozenNavLast",
}


def req_mkt_data(client: Client, values: Record) -> None:
    """Open a line: the first ticks at once, then changes; a snapshot gets the first and an end."""
    req_id, lines = values["req_id"], client.streams.quotes
    if req_id in lines:
        raise RefusedError(102, "Duplicate ticker ID.")
    generic = read_generic(values["generic_ticks"])
    if values["snapshot"] and generic:
        raise RefusedError(
            414, "Snapshot market data subscription is not applicable to generic ticks."
        )
    if len(lines) >= MAX_LINES:
        raise RefusedError(101, "Max number of tickers has been reached.")
    sub = Subscription(req_id, resolve(client.gateway, values), generic)
    sub.seen = client.gateway.market.quote(sub.instrument, client.gateway.clock.now())
    for message, tick in first_ticks(sub, sub.seen):
        client.send(message, tick, req_id=req_id)
    if values["snapshot"]:
        client.send(r.SNAPSHOT_END, req_id=req_id)
    else:
        lines[req_id] = sub
        client.gateway.stream.wake()


def read_generic(text: str) -> frozenset[int]:
    """Return the generic ticks of a list like ``100,233,mdoff``."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    numbers = [word for word in words if not word.startswith("mdoff")]
    wrong = [word for word in numbers if not word.isdecimal() or int(word) not in GENERIC]
    if wrong:
        legal = ",".join(f"{number}({name})" for number, name in GENERIC.items())
        raise invalid(
            f"Incorrect generic tick list of {','.join(wrong)}.  Legal ones for (STK) are: {legal}"
        )
    return frozenset(map(int, numbers))


def cancel_mkt_data(client: Client, values: Record) -> None:
    """Close a line at once, silently."""
    if client.streams.quotes.pop(values["req_id"], None) is None:
        raise RefusedError(300, f"Can't find EId with tickerId:{values['req_id']}")


def req_market_data_type(client: Client, values: Record) -> None:
    """Remember the wish, silently; an entitled client gets live data whatever it asks for."""
    client.market_data_type = values["market_data_type"]


HANDLERS: Final = {
    "req_mkt_data": req_mkt_data,
    "cancel_mkt_data": cancel_mkt_data,
    "req_market_data_type": req_market_data_type,
}
