"""Requests about the past: bars, kept up to date if wished, sessions, the first timestamp.

Not here: what such a request means (`handlers.bars`), how bars are made (`market`, `replay`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ibkit.schema import BAR_SIZES
from ibkit.sim import times
from ibkit.sim.grids import snap
from ibkit.sim.handlers.bars import (
    WORDS,
    Query,
    bar_columns,
    bar_rows,
    check_what,
    cut,
    find_bars,
    find_start,
    no_data,
    read_query,
    traded,
)
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, hmds, invalid, unprocessed
from ibkit.sim.handlers.session import accept
from ibkit.sim.market import NoDataError
from ibkit.sim.wire import pack
from ibkit.sim.wire import replies as r
from ibkit.sim.worker import Deliver, Later

if TYPE_CHECKING:
    from ibkit.sim.calendars import Session
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.market import Bars
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Record

SMALL_BARS: Final = 30  # seconds: up to here, requests are paced
LONGEST_FINE_S: Final = 15 * 86_400  # of a histogram made of minutes
ONE_DAY: Final = timedelta(days=1)
FIRST_SESSION: Final = timedelta(days=10)  # so soon after the first instant there is one
UPDATE_FIELDS: Final = ("date", "open", "high", "low", "close", "volume", "wap", "count")


@dataclass(slots=True)
class BarsLine:
    """Bars that a client wants kept up to date, and the last one it was told."""

    query: Query
    told: tuple[Any, ...]


def req_historical_data(client: Client, values: Record) -> Later:
    """Answer with all bars in one message, which also ends the request; or with sessions."""
    req_id = values["req_id"]
    if req_id in client.streams.bars or client.gateway.faults.is_open(client, req_id):
        raise RefusedError(386, "Duplicate ticker ID for API historical query")
    query = read_query(client, values)
    check_pace(client, query)
    if client.gateway.entitlements.level(query.instrument) != "live":
        where = query.instrument.primary_exchange or query.instrument.exchange
        raise hmds(f"No market data permissions for {where} {query.instrument.sec_type}")
    if query.what == "SCHEDULE":
        return Later(partial(schedule, client, query), query.req_id)
    return Later(partial(all_bars, client, query, keep=values["keep_up_to_date"]), query.req_id)


def all_bars(client: Client, query: Query, *, keep: bool) -> Deliver:
    """Return what sends all bars of a query, and begins to keep them up to date if wished."""
    bars = find_bars(client.gateway, query)
    home = query.instrument.time_zone_id
    fields = r.HISTORICAL_DATA.fields(
        {
            "req_id": query.req_id,
            "start": times.local_text(query.start, home),
            "end": times.local_text(query.end, home),
            "bars": bar_columns(bars, query),
        }
    )
    frame = pack(fields)
    last = next(bar_rows(cut(bars, -1), query))

    def deliver() -> None:
        client.send_frame(r.HISTORICAL_DATA, frame)
        if keep:
            client.streams.bars[query.req_id] = BarsLine(query, last)
            client.gateway.stream.wake()

    return deliver


def check_pace(client: Client, query: Query) -> None:
    """Refuse what asks too much: more open requests than fit, or small bars too often."""
    limits = client.gateway.limits
    if not limits.room_for_history(client.open_history):
        raise unprocessed(limits.too_much_history)
    if query.size.seconds > SMALL_BARS:
        return
    about = (query.instrument.con_id, query.instrument.exchange, query.what)
    request = (about, query.start, query.end, query.size.ib, query.use_rth)
    weight = 2 if query.what == "BID_ASK" else 1
    if client.bars_pacing.violates(client.gateway.clock.now(), request, about, weight):
        raise hmds("Historical data request pacing violation")


def req_histogram_data(client: Client, values: Record) -> Later:
    """Answer with how much traded at which price."""
    gateway = client.gateway
    try:
        count, unit = read_period(values["period"])
    except times.TimeTextError:
        raise invalid(f"Invalid period {values['period']}") from None
    instrument = resolve(gateway, values)
    what = check_what(instrument, traded(instrument))
    now = gateway.clock.now()
    start = find_start(gateway, instrument, now, (count, unit), use_rth=values["use_rth"])
    size = BAR_SIZES["1 min" if now - start <= LONGEST_FINE_S else "1 hour"]

    def compute() -> Deliver:
        try:
            bars = gateway.market.bars(instrument, start, now, size, what, values["use_rth"])
        except NoDataError as error:
            raise hmds(str(error)) from error
        items = histogram(bars, instrument)
        return partial(client.send, r.HISTOGRAM, req_id=values["req_id"], items=items)

    return Later(compute)


def read_period(text: str) -> tuple[int, str]:
    """Return number and unit of a period such as ``3 days`` or ``1 week``.

    >>> read_period("3 days")
    (3, 'D')
    """
    number, _, word = text.strip().partition(" ")
    unit = word.strip().upper()[:1]
    return times.parse_duration(f"{number} {unit}")


def histogram(bars: Bars, instrument: Instrument) -> list[tuple[str, int]]:
    """Return prices on the tick grid, ascending, and what traded there; bars count at their wap."""
    traded: dict[int, float] = {}
    tick = float(instrument.tick)
    for price, volume in zip(bars.wap.tolist(), bars.volume.tolist(), strict=True):
        if volume > 0:
            level = snap(instrument.bands, round(price / tick))
            traded[level] = traded.get(level, 0.0) + volume
    rows = ((instrument.tick * level, traded[level]) for level in sorted(traded))
    return [(f"{price:f}", max(1, round(size))) for price, size in rows]


def send_updates(client: Client, now: float) -> None:
    """Send the bars that changed since they were last told; the last one is still in the making."""
    for req_id, line in client.streams.bars.items():
        since = now - 2 * line.query.size.seconds
        span = replace(line.query, start=max(since, line.query.start), end=now)
        try:
            rows = list(bar_rows(find_bars(client.gateway, span), span))
        except RefusedError:  # nothing trades just now
            continue
        known = [at for at, row in enumerate(rows) if row[0] == line.told[0]]
        for row in rows[known[-1] if known else 0 :]:
            if row != line.told:
                values = dict(zip(UPDATE_FIELDS, row, strict=True))
                client.send(r.HISTORICAL_UPDATE, values, req_id=req_id)
                line.told = row


def cancel_historical_data(client: Client, values: Record) -> None:
    """Stop the updates, or a request that still waits for its answer."""
    req_id = values["req_id"]
    waited = client.gateway.faults.withdraw(client, req_id)
    if client.streams.bars.pop(req_id, None) is None and not waited:
        raise RefusedError(366, f"No historical data query found for ticker id:{req_id}")
    raise hmds(f"API historical data query cancelled: {req_id}")


def schedule(client: Client, query: Query) -> Deliver:
    """Return what sends the sessions of the span, in the exchange's own time."""
    home = query.instrument.time_zone_id
    first, last = (times.day_of(at, home) for at in (query.start, query.end))
    found = [
        session
        for session in client.gateway.market.sessions(
            query.instrument, first, last + ONE_DAY, query.use_rth
        )
        if query.start <= session.start < query.end
    ]
    if not found:
        raise no_data(query)
    return partial(
        client.send,
        r.SCHEDULE,
        req_id=query.req_id,
        start=times.dash_text(found[0].start, home),
        end=times.dash_text(found[-1].end, home),
        time_zone=home,
        sessions=[session_row(session, home) for session in found],
    )


def session_row(session: Session, home: str) -> tuple[str, str, str]:
    """Return one session as a row of the message."""
    return (
        times.dash_text(session.start, home),
        times.dash_text(session.end, home),
        f"{session.ref_date:%Y%m%d}",
    )


def req_head_time_stamp(client: Client, values: Record) -> None:
    """Answer with the first instant of a series."""
    if values["what_to_show"] not in WORDS:
        raise invalid("What to show field is missing or incorrect.")
    instrument = resolve(client.gateway, values)
    check_what(instrument, values["what_to_show"])
    try:
        head = float(client.gateway.market.head(instrument))
    except NoDataError as error:
        raise hmds(str(error)) from error
    if values["use_rth"]:
        head = in_regular_hours(client.gateway, instrument, head)
    text = str(int(head)) if values["format_date"] == 2 else times.dash_text(head)
    client.send(r.HEAD_TIMESTAMP, req_id=values["req_id"], timestamp=text)


def in_regular_hours(gateway: Gateway, instrument: Instrument, head: float) -> float:
    """Return the first instant from `head` on that lies in a regular session."""
    day = times.day_of(head, instrument.time_zone_id)
    found = gateway.market.sessions(instrument, day, day + FIRST_SESSION, use_rth=True)
    starts = (max(head, float(one.start)) for one in found if one.end > head)
    return next(starts, head)


HANDLERS: Final = {
    "req_historical_data": req_historical_data,
    "cancel_historical_data": cancel_historical_data,
    "req_head_time_stamp": req_head_time_stamp,
    "cancel_head_time_stamp": accept,
    "req_histogram_data": req_histogram_data,
    "cancel_histogram_data": accept,
}
