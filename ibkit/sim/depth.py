"""The order book around a quote: rows of price, size and maker, and what changed between two books.

Pure: the same book for everybody who looks at the same second. Not here: who gets which rows
(`ibkit.sim.handlers.depth`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ibkit.sim.grids import snap, step_at
from ibkit.sim.noise import fraction
from ibkit.sim.trades import venue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibkit.sim.instrument import Instrument
    from ibkit.sim.screen import Quote

INSERT, UPDATE, DELETE = range(3)
ASK, BID = range(2)
LASTS: Final = 7  # seconds that a row stays as it is, about


class Row(NamedTuple):
    """One level of one side; `maker` is the exchange where it rests."""

    price: float
    size: float
    maker: str


class Change(NamedTuple):
    """What happened to one row."""

    position: int
    operation: int
    side: int
    row: Row


Book = tuple[tuple[Row, ...], tuple[Row, ...]]


def book(seed: int, instrument: Instrument, quote: Quote, second: int, rows: int) -> Book:
    """Return the asks and the bids, best first; the best ones are the quote's."""
    return (
        _side(seed, instrument, (quote.ask, quote.ask_size, 1), second, rows),
        _side(seed, instrument, (quote.bid, quote.bid_size, -1), second, rows),
    )


def _side(
    seed: int,
    instrument: Instrument,
    best: tuple[float | None, float, int],
    second: int,
    rows: int,
) -> tuple[Row, ...]:
    price, size, away = best
    if price is None:
        return ()
    tick = float(instrument.tick)
    found = [Row(price, size, venue(instrument, second // LASTS))]
    level = round(price / tick)
    steps = instrument.bands
    while len(found) < rows and level > 2 * step_at(steps, level):
        near = 1 + (fraction(seed, "gap", instrument.con_id, level) < 0.2)
        level = snap(steps, level + away * near * step_at(steps, level + min(away, 0)), away)
        # each level changes at a time of its own
        epoch = (second + level) // LASTS
        draw = fraction(seed, "level", instrument.con_id, level, epoch)
        grown = max(1, round(len(found) * (0.5 + 3 * draw)))
        maker = venue(instrument, int(draw * 997))
        found.append(Row(float(instrument.tick * level), _multiple(size, grown), maker))
    return tuple(found)


def _multiple(size: float, times: int) -> float:
    return round(size * times, 8) or 1


def changes(old: Book, new: Book) -> Iterator[Change]:
    """Yield what makes `new` of `old`: deletes, inserts, updates, so that positions shift.

    A client that applies them one after the other has `new`, and never more rows than either.
    """
    for side in (ASK, BID):
        yield from _changes(side, list(old[side]), new[side])


def _changes(side: int, rows: list[Row], wanted: tuple[Row, ...]) -> Iterator[Change]:
    prices = {row.price for row in wanted}
    for at in reversed(range(len(rows))):
        if rows[at].price not in prices:
            yield Change(at, DELETE, side, Row(0.0, 0, rows[at].maker))
            del rows[at]
    for at, row in enumerate(wanted):
        if at >= len(rows) or rows[at].price != row.price:
            yield Change(at, INSERT, side, row)
            rows.insert(at, row)
        elif rows[at] != row:
            yield Change(at, UPDATE, side, row)
            rows[at] = row
