"""Requests about the market scanner: its description, and scans that refresh.

Not here: what scans there are and who comes first (`ibkit.sim.scanners`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import scanners, times
from ibkit.sim.contracts import contract_record
from ibkit.sim.handlers.refusal import RefusedError, hmds, invalid
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway

MOST_ROWS: Final = 50
REFRESH_S: Final = 30.0
FRONT: Final = timedelta(days=100)


@dataclass(slots=True)
class Scan:
    """One client's scan."""

    req_id: int
    code: str
    locations: list[str]
    stock_type: str
    filters: list[tuple[str, float]]
    rows: int
    due: float = 0.0


def req_scanner_parameters(client: Client, _values: Record) -> None:
    """Answer with the description of the scanner."""
    client.send(r.SCANNER_PARAMETERS, xml=scanners.parameters())


def req_scanner_subscription(client: Client, values: Record) -> None:
    """Open a scan: the whole list at once, and again at every refresh."""
    req_id, most = values["req_id"], client.gateway.limits.scanners
    if req_id in client.streams.scanners:
        raise RefusedError(385, "Duplicate ticker ID for API scanner subscription")
    if most and len(client.streams.scanners) >= most:
        raise hmds(f"Maximum number of scanner subscriptions ({most}) has been reached")
    if values["scan_code"] not in scanners.SCANS:
        raise hmds(f"Scanner type {values['scan_code']} is disabled")
    locations = scanners.places(values["location_code"])
    if not locations:
        raise hmds(f"Invalid location code {values['location_code']}")
    try:
        filters = scanners.filters(values)
    except ValueError as error:
        raise invalid(f"Scanner filter {error} is disabled or invalid") from None
    rows = values["rows"] if values["rows"] is not None and values["rows"] > 0 else MOST_ROWS
    stock_type = values["stock_type_filter"]
    scan = Scan(req_id, values["scan_code"], locations, stock_type, filters, min(rows, MOST_ROWS))
    client.streams.scanners[req_id] = scan
    send_scan(client, scan, client.gateway.clock.now())
    client.gateway.stream.wake()


def send_scans(client: Client, now: float) -> None:
    """Send every scan of a client anew whose time has come."""
    for scan in tuple(client.streams.scanners.values()):
        if now >= scan.due:
            send_scan(client, scan, now)


def send_scan(client: Client, scan: Scan, now: float) -> None:
    """Send one scan."""
    gateway = client.gateway
    scan.due = now + REFRESH_S
    seen = (
        scanners.Seen(one, gateway.market.quote(one, now), gateway.seed)
        for one in candidates(gateway, scan, now)
    )
    found = scanners.ranked(scan.code, seen, scan.filters, scan.rows)
    rows = [row(rank, one.instrument) for rank, one in enumerate(found)]
    client.send(r.SCANNER_DATA, req_id=scan.req_id, rows=rows)


def candidates(gateway: Gateway, scan: Scan, now: float) -> Iterator[Instrument]:
    """Yield the instruments of the places that a scan looks at."""
    stock_type = scan.stock_type.upper()
    for one in gateway.universe.instruments:
        if any(scanners.belongs(one, place, stock_type) for place in scan.locations):
            yield one
    if "FUT.US" in scan.locations:
        today = times.day_of(now, "US/Eastern")
        for root, product in gateway.universe.products.items():
            if product.spec.currency == "USD":
                yield from gateway.universe.chain(root, today, today + FRONT)[:1]


def row(rank: int, instrument: Instrument) -> dict[str, Any]:
    """Return one row of a scan; the number it was ranked by is not sent by IB, nor here."""
    return {
        **contract_record(instrument),
        "rank": rank,
        "right": instrument.right,
        "market_name": instrument.market_name or instrument.trading_class,
        "distance": "",
        "benchmark": "",
        "projection": "",
        "legs": "",
    }


def cancel_scanner_subscription(client: Client, values: Record) -> None:
    """Close a scan; the service says so under code 162."""
    req_id = values["req_id"]
    if client.streams.scanners.pop(req_id, None) is None:
        raise RefusedError(365, f"No scanner subscription found for ticker id:{req_id}")
    raise hmds(f"API scanner subscription cancelled: {req_id}")


HANDLERS: Final = {
    "req_scanner_parameters": req_scanner_parameters,
    "req_scanner_subscription": req_scanner_subscription,
    "cancel_scanner_subscription": cancel_scanner_subscription,
}
