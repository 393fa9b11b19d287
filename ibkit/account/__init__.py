"""The account as frames: positions, values, portfolio.

The numbers are IB's own, kept current by the gateway; nothing is computed here.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ibkit import naming
from ibkit.connection import on_loop
from ibkit.errors import NotConnectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ib_async import AccountValue, Contract, PortfolioItem, Position

    from ibkit.connection import Link

__all__ = ["Account"]

# IB reports a holding with its listing exchange; people name these by the symbol alone
US_LISTINGS: Final = frozenset({"NASDAQ", "NYSE", "ARCA", "AMEX", "BATS", "IEX", "PINK"})
POSITION_TYPES: Final = {
    "account": "string",
    "con_id": "int64",
    "sec_type": "string",
    "currency": "string",
    "position": "float64",
    "average_cost": "float64",
}
PORTFOLIO_TYPES: Final = POSITION_TYPES | {
    "market_price": "float64",
    "market_value": "float64",
    "unrealized_pnl": "float64",
    "realized_pnl": "float64",
}
VALUE_TYPES: Final = {
    "account": "string",
    "tag": "string",
    "currency": "string",
    "value": "string",
    "number": "float64",
}


class Account:
    """Positions and values of the login's accounts, as IB reports them.

    Parameters
    ----------
    link : Link
        The connection.

    Notes
    -----
    While the connection is not ready, the last frame that was read is given again, with
    ``attrs["stale"]`` set; if there is none, `NotConnectedError` is raised.
    """

    def __init__(self, link: Link) -> None:
        self._loop, self._link = link.loop, link
        self._last: dict[str, pd.DataFrame] = {}

    @on_loop
    async def positions(self) -> pd.DataFrame:
        """Return what the accounts hold.

        Returns
        -------
        DataFrame
            One row a position. Index ``instrument``: its shorthand. Columns: ``account``,
            ``con_id``, ``sec_type``, ``currency``, ``position`` (signed units), ``average_cost``
            (a unit, with commission, times the multiplier for derivatives).

        Raises
        ------
        NotConnectedError
            Nothing was read yet, and the connection is not ready.

        Examples
        --------
        >>> kit.account.positions()  # doctest: +SKIP
        """
        return self._frame("positions", self._link.ib.positions, _position, POSITION_TYPES)

    @on_loop
    async def portfolio(self) -> pd.DataFrame:
        """Return the positions with their market value and profit, as IB sends them.

        Returns
        -------
        DataFrame
            As `positions`, and ``market_price``, ``market_value``, ``unrealized_pnl``,
            ``realized_pnl`` in the instrument's currency. IB renews it with each trade, else every
            three minutes.

        Raises
        ------
        NotConnectedError
            As `positions`.
        """
        return self._frame("portfolio", self._link.ib.portfolio, _holding, PORTFOLIO_TYPES)

    @on_loop
    async def values(self) -> pd.DataFrame:
        """Return everything IB says about the accounts' money.

        Returns
        -------
        DataFrame
            Index: a running number. Columns: ``account``, ``tag`` (IB's names:
            ``NetLiquidation``…), ``currency`` (``BASE`` for totals, empty where it makes no
            sense), ``value`` as text, ``number`` (NaN where the value is no number).

        Raises
        ------
        NotConnectedError
            As `positions`.
        """
        return self._frame("values", self._link.ib.accountValues, _value, VALUE_TYPES)

    def _frame(
        self,
        what: str,
        read: Callable[[], Iterable[Any]],
        row: Callable[[Any], dict[str, Any]],
        types: dict[str, str],
    ) -> pd.DataFrame:
        if self._link.state == "ready":
            self._last[what] = self._make(map(row, read()), types)
        elif what not in self._last:
            raise NotConnectedError(self._link.state, f"account.{what}()")
        frame = self._last[what].copy()
        frame.attrs["stale"] = self._link.state != "ready"
        return frame

    def _make(self, rows: Iterable[dict[str, Any]], types: dict[str, str]) -> pd.DataFrame:
        columns = ["instrument", *types] if "con_id" in types else [*types]
        frame = pd.DataFrame(list(rows), columns=columns).astype(types)
        if "con_id" in types:
            frame = frame.set_index("instrument").sort_index()
        frame.attrs["simulated"] = self._link.simulated
        return frame


def _named(contract: Contract, account: str) -> dict[str, Any]:
    named = copy.copy(contract)
    if contract.secType == "STK" and contract.exchange in US_LISTINGS:
        named.exchange = "SMART"
    return {
        "instrument": naming.shorthand(named),
        "account": account,
        "con_id": contract.conId,
        "sec_type": contract.secType,
        "currency": contract.currency,
    }


def _position(item: Position) -> dict[str, Any]:
    return _named(item.contract, item.account) | {
        "position": item.position,
        "average_cost": item.avgCost,
    }


def _holding(item: PortfolioItem) -> dict[str, Any]:
    return _named(item.contract, item.account) | {
        "position": item.position,
        "average_cost": item.averageCost,
        "market_price": item.marketPrice,
        "market_value": item.marketValue,
        "unrealized_pnl": item.unrealizedPNL,
        "realized_pnl": item.realizedPNL,
    }


def _value(item: AccountValue) -> dict[str, Any]:
    return {
        "account": item.account,
        "tag": item.tag,
        "currency": item.currency,
        "value": item.value,
        "number": _number(item.value),
    }


def _number(text: str) -> float:
    """Return the number that `text` is, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
