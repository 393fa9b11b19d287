"""Resampled bars against a plain loop over the minutes, and against the gateway's own bars."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.schema import BAR_SIZES
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe
from ibkit.store import files, resample

NEW_YORK = ZoneInfo("America/New_York")
FIELDS = ("open", "high", "low", "close", "volume", "wap", "count")
MINUTE = BAR_SIZES["1 min"]
LARGER = ["2 mins", "5 mins", "15 mins", "30 mins", "1 hour", "2 hours", "4 hours"]

minutes_of_day = st.sets(st.integers(0, 389), min_size=1, max_size=40)
sessions = st.dictionaries(st.integers(0, 300), minutes_of_day, min_size=1, max_size=4)


def rows_of(days: dict[int, set[int]], seed: int) -> pa.Table:
    """Return minutes after 09:30 of New York on days after 2026-01-05; the open always trades."""
    stamps = []
    for day, minutes in sorted(days.items()):
        opens = datetime(2026, 1, 5, 9, 30, tzinfo=NEW_YORK) + timedelta(days=day)
        stamps += [(opens + timedelta(minutes=n)).astimezone(UTC) for n in sorted(minutes | {0})]
    random, n = np.random.default_rng(seed), len(stamps)
    low = random.integers(90, 100, n).astype(float)
    volume = np.where(random.random(n) < 0.2, np.nan, random.integers(0, 50, n))
    return pa.table(
        {
            "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
            "open": low + 1,
            "high": low + 3,
            "low": low,
            "close": low + 2,
            "volume": pa.array(volume, from_pandas=True),
            "wap": low + 1.5,
            "count": pa.array(random.integers(0, 9, n), pa.int32()),
        }
    )


def by_hand(rows: pa.Table, seconds: int) -> list[dict]:
    """Return the bars as a person would make them."""
    slots: dict[datetime, list[dict]] = {}
    for row in rows.to_pylist():
        local = row["ts"].astimezone(NEW_YORK)
        midnight = local.replace(hour=0, minute=0, second=0)
        into = (local.hour * 3600 + local.minute * 60) // seconds * seconds
        opens = local.replace(hour=9, minute=30)
        begin = max(midnight.replace(hour=into // 3600, minute=into % 3600 // 60), opens)
        slots.setdefault(begin.astimezone(UTC), []).append(row)
    return [one_by_hand(ts, pieces) for ts, pieces in slots.items()]


def one_by_hand(ts: datetime, pieces: list[dict]) -> dict:
    known = [row["volume"] for row in pieces if row["volume"] is not None]
    weight = sum(known)
    wap = sum(row["wap"] * (row["volume"] or 0) for row in pieces) / weight if weight else None
    return {
        "ts": ts,
        "open": pieces[0]["open"],
        "high": max(row["high"] for row in pieces),
        "low": min(row["low"] for row in pieces),
        "close": pieces[-1]["close"],
        "volume": weight if known else None,
        "wap": wap if weight else sum(row["wap"] for row in pieces) / len(pieces),
        "count": sum(row["count"] for row in pieces),
    }


@settings(max_examples=60, deadline=None)
@given(sessions, st.sampled_from(LARGER), st.integers(0, 5))
def test_bars_are_those_made_by_hand(days, size, seed):
    rows = rows_of(days, seed)

    made = resample.resample(rows, BAR_SIZES[size], ("America/New_York", 0)).to_pylist()

    expected = by_hand(rows, BAR_SIZES[size].seconds)
    assert [bar["ts"] for bar in made] == [bar["ts"] for bar in expected]
    for bar, wanted in zip(made, expected, strict=True):
        assert {name: bar[name] for name in FIELDS} == pytest.approx(
            {name: wanted[name] for name in FIELDS}
        )


@settings(max_examples=40, deadline=None)
@given(sessions, st.integers(0, 5))
def test_two_steps_are_one(days, seed):
    rows, clock = rows_of(days, seed), ("America/New_York", 0)

    five = resample.resample(rows, BAR_SIZES["5 mins"], clock)
    direct = resample.resample(rows, BAR_SIZES["1 hour"], clock)
    stepped = resample.resample(five, BAR_SIZES["1 hour"], clock)

    for name in ("ts", "open", "high", "low", "close", "volume", "count"):
        assert stepped[name].equals(direct[name])


@settings(max_examples=40, deadline=None)
@given(sessions, st.sampled_from([*LARGER, "1 day", "1 week", "1 month"]), st.integers(0, 5))
def test_nothing_is_lost_or_made_up(days, size, seed):
    rows = rows_of(days, seed)

    made = resample.resample(rows, BAR_SIZES[size], ("America/New_York", 0))

    ts = files.microseconds(made["ts"])
    assert (np.diff(ts) > 0).all()
    for name in ("volume", "count"):
        total = np.nansum(rows[name].to_numpy().astype(float))
        assert np.nansum(made[name].to_numpy().astype(float)) == total
    assert max(made["high"].to_pylist()) == max(rows["high"].to_pylist())
    assert min(made["low"].to_pylist()) == min(rows["low"].to_pylist())


@pytest.mark.parametrize(
    ("name", "exchange", "use_rth"),
    [
        ("AAPL", "SMART", True),
        ("AAPL", "SMART", False),
        ("VOD", "LSE", True),
        ("700", "SEHK", True),
    ],
)
@pytest.mark.parametrize("size", ["5 mins", "30 mins", "1 hour", "4 hours", "1 day"])
def test_bars_are_those_the_gateway_gives(name, exchange, use_rth, size):
    universe = Universe.load()
    instrument = next(
        each
        for each in universe.instruments
        if each.symbol in {name, f"0{name}"} and each.sec_type == "STK"
    )
    market = Market(universe)
    span = [datetime(2026, 10, day, tzinfo=UTC).timestamp() for day in (5, 10)]
    stretches = stretches_of(market, instrument, use_rth=use_rth)
    minutes = market.bars(instrument, *span, MINUTE, "TRADES", use_rth)
    larger = market.bars(instrument, *span, BAR_SIZES[size], "TRADES", use_rth)

    made = resample.resample(
        table_of(minutes), BAR_SIZES[size], (instrument.time_zone_id, 0), sessions=stretches
    )

    expected = table_of(larger)
    assert made["ts"].equals(expected["ts"])
    for field in ("open", "high", "low", "close", "volume", "count"):
        assert made[field].to_pylist() == pytest.approx(expected[field].to_pylist())
    assert made["wap"].to_pylist() == pytest.approx(expected["wap"].to_pylist(), abs=0.006)


def stretches_of(market: Market, instrument, *, use_rth: bool) -> list[SimpleNamespace]:
    """Return the unbroken stretches of trading of a week: before and after lunch are two."""
    found: list[SimpleNamespace] = []
    for day in (date(2026, 10, n) for n in range(5, 10)):
        for block in market.blocks(instrument, day):
            start, end = (datetime.fromtimestamp(edge, UTC) for edge in (block.start, block.end))
            if use_rth and not block.rth:
                continue
            if found and found[-1].end == start and found[-1].ref_date == day:
                found[-1].end = end
            else:
                found.append(SimpleNamespace(start=start, end=end, ref_date=day))
    return found


def table_of(bars) -> pa.Table:
    ts = pa.array(np.asarray(bars.time) * 1_000_000).view(pa.timestamp("us", "UTC"))
    columns = {field: pa.array(np.asarray(getattr(bars, field), float)) for field in FIELDS[:-1]}
    return pa.table({"ts": ts, **columns, "count": pa.array(np.asarray(bars.count), pa.int32())})
