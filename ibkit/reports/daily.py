"""The figures behind the daily report: stored bars in, frames out; pure but for `read`.

Sessions are told from the bars (`ibkit.plots.sessions`), so a report needs no connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit import naming
from ibkit.display import Format, sparkline
from ibkit.errors import UnknownSeriesError
from ibkit.plots import sessions
from ibkit.plots.returns import inside
from ibkit.schema import bar_size as find_bar_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ib_async import Contract

    from ibkit.store import Store

YEAR: Final = 252  # sessions
Bars = dict[str, pd.DataFrame]
# how a person reads the columns of `summary` and `quality`
FORMATS: Final[dict[str, Format]] = {
    "last": lambda price: f"{price:,.5g}" if price < 10 else f"{price:,.2f}",
    "change": "+.2%",
    "period": "+.2%",
    "range": ".2%",
    "volume": ",.0f",
    "vs usual": ".2f",
    "vol.": ".1%",
    "usual vol.": ".1%",
    "largest move": ".2%",
    "bars": ",.0f",
    "a session": ",.0f",
    "short": ",.0f",
    "no volume": ",.0f",
}
SIGNED: Final = ("change", "period")


def read(
    store: Store, symbols: Sequence[str], bar_size: str = "1 min", *, days: int = 5, end: str = ""
) -> Bars:
    """Return the last `days` stored sessions of each symbol, by symbol.

    Parameters
    ----------
    store : Store
        Read, never written.
    symbols : sequence of str
        Shorthand; of a future without a month, the stored contract that expires last.
    bar_size : str
        In IB's words.
    days : int
        Sessions, counted back from `end`.
    end : str
        The last session's ISO date; empty: the last one stored.

    Returns
    -------
    dict of str to DataFrame
        Bars as `Store.bars` returns them. A symbol of which nothing is stored is left out.

    Raises
    ------
    UnknownSeriesError
        Nothing is stored of any of them.
    """
    table = store.coverage(find_bar_size(bar_size).dataset)
    found = {symbol: _series(table, symbol) for symbol in symbols}
    bars = {
        symbol: last_sessions(_bars(store, row, bar_size, end, days), days, end)
        for symbol, row in found.items()
        if row is not None
    }
    kept = {symbol: frame for symbol, frame in bars.items() if len(frame)}
    if not kept:
        raise UnknownSeriesError(
            f"The store has no {bar_size} bars of {', '.join(symbols)}.\n"
            f"Hint: ibkit backfill {' '.join(symbols)}, or the notebook backfill, fetches them."
        )
    return kept


def last_sessions(frame: pd.DataFrame, days: int, end: str = "") -> pd.DataFrame:
    """Return the bars of the last `days` sessions up to the date `end`, included."""
    dates = sessions.dates(frame)
    if end:
        dates = dates[dates <= pd.Timestamp(end)]
    return frame.loc[dates.index[dates.isin(dates.unique()[-days:])]]


def daily(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row a session: open, high, low, close, volume, number of bars, volatility.

    ``volatility`` is that of the bars inside the session, as a yearly fraction.
    """
    by = frame.groupby(sessions.dates(frame))
    squares = inside(frame).pow(2).groupby(sessions.dates(frame))
    return pd.DataFrame(
        {
            "open": by["open"].first(),
            "high": by["high"].max(),
            "low": by["low"].min(),
            "close": by["close"].last(),
            "volume": by["volume"].sum(min_count=1),
            "bars": by.size(),
            "volatility": np.sqrt(squares.sum() * YEAR),
        }
    )


def summary(bars: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the last session in one row a symbol, against the sessions before it.

    Returns
    -------
    DataFrame
        ``session``; ``last`` close; ``change`` to the close before and over the whole ``period``;
        ``range`` (high less low) as fractions; ``volume``; ``vs usual``, volume against the mean
        of up to 20 sessions before; ``vol.``, realised volatility, yearly, and ``usual vol.`` of
        those before; ``trend``, a drawing of all closes.
    """
    table = pd.DataFrame.from_dict(
        {symbol: _summary_row(frame) for symbol, frame in bars.items()}, orient="index"
    ).rename_axis("symbol")
    lines = [sparkline(_thin(frame["close"])) for frame in bars.values()]
    table["trend"] = pd.Series(lines, index=table.index, dtype="object")
    table.attrs = _attrs(bars)
    return table


def volatilities(bars: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return realised volatility, one row a session, one column a symbol."""
    table = pd.DataFrame({symbol: daily(frame)["volatility"] for symbol, frame in bars.items()})
    table.attrs = _attrs(bars)
    return table


def correlations(bars: Mapping[str, pd.DataFrame], every: str = "5min") -> pd.DataFrame:
    """Return the correlations of returns over `every`, where both of a pair traded."""
    closes = {
        symbol: frame["close"].groupby(pd.DatetimeIndex(frame.index).floor(every)).last()
        for symbol, frame in bars.items()
    }
    moves = {
        symbol: np.log(close)
        .groupby(sessions.dates(bars[symbol]).reindex(close.index, method="ffill"))
        .diff()
        for symbol, close in closes.items()
    }
    matrix = pd.DataFrame(moves).corr(min_periods=30)
    matrix.attrs = _attrs(bars)
    return matrix


def quality(bars: Mapping[str, pd.DataFrame], asked: Sequence[str], days: int) -> pd.DataFrame:
    """Return what a reader must know before trusting the rest, one row a symbol asked for.

    Returns
    -------
    DataFrame
        ``sessions`` found of those asked for; ``bars``, and the usual number ``a session``;
        ``short``, sessions with less than 90 % of the usual; ``no volume``, bars without a trade
        in series that have volume; ``largest move`` from bar to bar inside a session; ``last
        bar``; ``verdict`` in words.
    """
    rows = {symbol: _quality_row(bars.get(symbol), days) for symbol in asked}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("symbol")
    table.attrs = _attrs(bars)
    return table


def coverage(store: Store, bars: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of `Store.coverage()` that the report is made of."""
    table = store.coverage()
    read = {(frame.attrs["instrument"], frame.attrs["what_to_show"]) for frame in bars.values()}
    kept = [key in read for key in zip(table["instrument"], table["what_to_show"], strict=True)]
    shown = table[kept]
    shown.attrs = _attrs(bars)
    return shown


def _summary_row(frame: pd.DataFrame) -> dict[str, Any]:
    table = daily(frame)
    last, before = table.iloc[-1], table.iloc[:-1]
    return {
        "session": f"{table.index[-1]:%Y-%m-%d}",
        "last": last["close"],
        "change": last["close"] / before["close"].iloc[-1] - 1 if len(before) else np.nan,
        "period": last["close"] / table["open"].iloc[0] - 1,
        "range": (last["high"] - last["low"]) / last["close"],
        "volume": last["volume"],
        "vs usual": last["volume"] / before["volume"].tail(20).mean(),
        "vol.": last["volatility"],
        "usual vol.": before["volatility"].tail(20).mean(),
    }


def _quality_row(frame: pd.DataFrame | None, days: int) -> dict[str, Any]:
    if frame is None:
        return {"sessions": f"0 of {days}", "verdict": "not in the store"}
    counts = daily(frame)["bars"]
    usual = int(counts.median())
    short = int((counts < usual * 0.9).sum())
    silent = int(frame["volume"].eq(0).sum())
    found = len(counts)
    missing = [f"{days - found} sessions missing"] if found < days else []
    brief = [f"{short} short {'session' if short == 1 else 'sessions'}"] if short else []
    return {
        "sessions": f"{found} of {days}",
        "bars": len(frame),
        "a session": usual,
        "short": short,
        "no volume": silent,
        "largest move": float(np.expm1(inside(frame).abs().max())),
        "last bar": f"{frame.index[-1]:%Y-%m-%d %H:%M} UTC",
        "verdict": ", ".join(missing + brief) or "complete",
    }


def _series(table: pd.DataFrame, symbol: str) -> Mapping[Any, Any] | None:
    """Return the stored series that `symbol` means: trades if there are, the latest expiry."""
    wanted = naming.parse(symbol)
    rows = [
        row
        for row in table.to_dict("records")
        if row["rows"] and _fits(naming.from_slug(row["instrument"]), wanted)
    ]
    rows.sort(key=lambda row: (row["what_to_show"] == "TRADES", row["instrument"], row["rows"]))
    return rows[-1] if rows else None


def _fits(stored: Contract, wanted: Contract) -> bool:
    fields = ("secType", "symbol", "exchange", "currency", "right")
    expiry = wanted.lastTradeDateOrContractMonth
    return (
        all(getattr(wanted, name) in {"", getattr(stored, name)} for name in fields)
        and stored.lastTradeDateOrContractMonth.startswith(expiry)
        and wanted.strike in {0.0, stored.strike}
    )


def _bars(store: Store, row: Mapping[Any, Any], bar_size: str, end: str, days: int) -> pd.DataFrame:
    """Read a little more than can be needed: sessions are counted in the rows themselves."""
    last = (
        pd.Timestamp(end, tz="UTC") + pd.Timedelta(days=2)
        if end
        else row["last"] + pd.Timedelta(days=1)
    )
    frame: pd.DataFrame = store.bars(
        row["instrument"],
        bar_size,
        (last - pd.Timedelta(days=days * 2 + 15)).to_pydatetime(),
        last.to_pydatetime(),
        what_to_show=row["what_to_show"],
        use_rth=row["use_rth"],
    )
    return frame


def _attrs(bars: Mapping[str, pd.DataFrame]) -> Mapping[Any, Any]:
    return {"simulated": any(frame.attrs.get("simulated") for frame in bars.values())}


def _thin(values: pd.Series) -> list[float]:
    """Return about sixty of `values`, the last one among them."""
    step = max(len(values) // 60, 1)
    return [*values.iloc[:-1:step], values.iloc[-1]]
