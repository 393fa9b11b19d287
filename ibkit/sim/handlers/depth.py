"""Requests for the order book: direct (one exchange) and SMART (all of them, with their names).

Not here: the book itself (`ibkit.sim.depth`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ibkit.sim.depth import Book, Change, book, changes
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.lines import NOT_SUBSCRIBED, named
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument

MOST_ROWS: Final = 60
NO_DEPTH: Final = frozenset({"IND", "BOND", "FUND", "NEWS"})
RESET: Final = (
    "Market depth data has been RESET. Please empty deep book contents before applying any new "
    "entries."
)
EMPTY: Final[Book] = ((), ())


@dataclass(slots=True)
class DepthLine:
    """One client's view of one book."""

    req_id: int
    instrument: Instrument
    rows: int
    smart: bool
    seen: Book = EMPTY


def req_mkt_depth(client: Client, values: Record) -> None:
    """Open a book: one insert for each row of both sides, then what changes."""
    req_id, most = values["req_id"], client.gateway.limits.depth
    if req_id in client.streams.depth:
        raise RefusedError(102, "Duplicate ticker ID.")
    if not 0 < values["rows"] <= MOST_ROWS:
        raise invalid(f"Invalid number of rows {values['rows']}")
    if most and len(client.streams.depth) >= most:
        raise RefusedError(309, f"Max number ({most}) of market depth requests has been reached.")
    instrument = resolve(client.gateway, values)
    if instrument.sec_type == "CFD" and instrument.under_con_id:
        reroute(client, req_id, instrument.under_con_id)
        return
    if instrument.sec_type in NO_DEPTH:
        raise RefusedError(
            10092,
            "Deep market data is not supported for this combination of security type/exchange",
        )
    if client.gateway.entitlements.level(instrument) != "live":
        raise RefusedError(354, f"{NOT_SUBSCRIBED}{named(instrument)}".replace("/TOP", "/DEEP"))
    line = DepthLine(req_id, instrument, values["rows"], values["is_smart_depth"])
    if line.smart:
        names = [name for name in instrument.valid_exchanges if name != "SMART"]
        text = f"Exchanges - Depth: {'; '.join(names[:6])}; Top: {'; '.join(names[6:])}; "
        client.error(req_id, 2152, text)
    client.streams.depth[req_id] = line
    show(client, line, client.gateway.clock.now())
    client.gateway.stream.wake()


def reroute(client: Client, req_id: int, under_con_id: int) -> None:
    """Tell the client of a CFD to ask for the underlying's book instead."""
    under = client.gateway.universe.by_con_id(under_con_id)
    exchange = under.exchange if under is not None else "SMART"
    client.send(r.REROUTE_MKT_DEPTH, req_id=req_id, con_id=under_con_id, exchange=exchange)


def show(client: Client, line: DepthLine, now: float) -> None:
    """Send what changed in a book since it was last shown."""
    gateway = client.gateway
    quote = gateway.market.quote(line.instrument, now)
    fresh = book(gateway.seed, line.instrument, quote, int(now), line.rows)
    for change in changes(line.seen, fresh):
        send_change(client, line, change)
    line.seen = fresh


def send_change(client: Client, line: DepthLine, change: Change) -> None:
    """Send one change of a row."""
    row = change.row
    values = {
        "req_id": line.req_id,
        "position": change.position,
        "operation": change.operation,
        "side": change.side,
        "price": row.price,
        "size": row.size,
    }
    if line.smart:
        client.send(r.DEPTH_L2, values, market_maker=row.maker, is_smart_depth=True)
    else:
        client.send(r.DEPTH, values)


def send_changes(client: Client, now: float) -> None:
    """Send what changed in every book of a client."""
    for line in tuple(client.streams.depth.values()):
        show(client, line, now)


def reset(client: Client, req_id: int) -> None:
    """Declare a book void, as after a gap, and send it anew: 317, then inserts."""
    line = client.streams.depth[req_id]
    client.error(req_id, 317, RESET)
    line.seen = EMPTY
    show(client, line, client.gateway.clock.now())


def cancel_mkt_depth(client: Client, values: Record) -> None:
    """Close a book, silently."""
    if client.streams.depth.pop(values["req_id"], None) is None:
        raise RefusedError(
            310, f"Can't find the subscribed market depth with tickerId:{values['req_id']}"
        )


def req_mkt_depth_exchanges(client: Client, _values: Record) -> None:
    """Answer with every exchange that has a book, for each kind of security."""
    found: dict[tuple[str, str, str], int] = {}
    for one in client.gateway.universe.instruments:
        if one.sec_type in NO_DEPTH:
            continue
        for name in one.valid_exchanges or (one.exchange,):
            listing = one.primary_exchange if one.sec_type == "STK" else ""
            if name != "SMART":
                found.setdefault((name, one.sec_type, listing), one.agg_group)
    for product in client.gateway.universe.products.values():
        found.setdefault((product.spec.exchange, "FUT", ""), 2147483647)
    rows = [(*key, "Deep", group) for key, group in sorted(found.items())]
    client.send(r.MKT_DEPTH_EXCHANGES, exchanges=rows)


HANDLERS: Final = {
    "req_mkt_depth": req_mkt_depth,
    "cancel_mkt_depth": cancel_mkt_depth,
    "req_mkt_depth_exchanges": req_mkt_depth_exchanges,
}
