"""Option chains on a connection: fetched once a day, qualified in as few requests as possible.

A mixin of `Contracts`. Not here: the table and the choice of rows (`ibkit.contracts.chains`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from ib_async import OptionChain
from tqdm.auto import tqdm

from ibkit import clock
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.contracts.asking import Asking
from ibkit.contracts.book import group_name
from ibkit.contracts.chains import Chain, make_chain, to_value
from ibkit.contracts.picking import contract_in
from ibkit.errors import NoDataError, UnknownContractError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ib_async import BarDataList, Contract

    from ibkit.contracts.asking import ContractLike


class Chaining(Asking):
    """Which options there are. A part of `Contracts`."""

    @on_loop
    async def chain(
        self,
        under: ContractLike,
        *,
        exchange: str | None = None,
        spot: float | None = None,
        market: bool = False,
    ) -> Chain:
        """Return the options on an underlying, as expiries and strikes of each class.

        Parameters
        ----------
        under : str or Contract
            A stock, an index or a future: ``"SPY"``, ``"IND:SPX"``, ``"FUT:ES:202612"``.
        exchange : str, optional
            Where the options trade; by default SMART, or where the underlying does.
        spot : float, optional
            The underlying's price, for `Chain.select` by moneyness and delta.
        market : bool
            Ask for the underlying's price and volatility too, as daily bars: so that
            ``chain.select(delta=0.25)`` needs no more, and no line of market data. The volatility
            is IB's of its options (30 days); of a future, that of its last 30 sessions.

        Returns
        -------
        Chain
            Possible options; `qualify` says which of them there are.

        Raises
        ------
        UnknownContractError
            There are no options on it there; with the exchanges where there are.

        Notes
        -----
        Costs one `reqSecDefOptParams` a day, however many strikes there are; `market`, two
        historical requests, and of a future one.
        """
        found = contract_in(await self._resolve(under))
        before = self.requests
        params = await self._params(found)
        where = exchange or _home(found, params)
        made = make_chain(found, params, clock.now().date(), exchange=where, spot=spot)
        if not len(made):
            venues = ", ".join(sorted({each.exchange for each in params})) or "no exchange"
            raise UnknownContractError(200, f"options on it are on {venues}, not {where}", found)
        if market:
            made = await self._with_market(made)
        return replace(made, requests=self.requests - before)

    async def _with_market(self, chain: Chain) -> Chain:
        """Return a chain that knows the price and a volatility of its underlying."""
        bars = await self._daily(chain.under, "TRADES", SESSIONS)
        spot, on = float(bars[-1].close), bars[-1].date
        if chain.under.secType == "FUT":
            vol, what = realised([float(each.close) for each in bars]), f"of {len(bars)} sessions"
        else:
            implied = await self._daily(chain.under, "OPTION_IMPLIED_VOLATILITY", 2)
            vol, what = float(implied[-1].close), "IB's, of 30 days"
        spot = spot if chain.spot is None else chain.spot
        note = f"at {spot:g} of {on}, volatility {vol:.3f} ({what})"
        return replace(chain, spot=spot, vol=vol, note=note)

    async def _daily(self, contract: Contract, what: str, days: int) -> BarDataList:
        """Return the last daily bars of an underlying; at least one."""
        self.requests += 1
        wanted = contract, "", f"{days} D", "1 day", what, True, 1
        found: BarDataList = await self._link.request(
            "daily bars",
            lambda ib: ib.reqHistoricalDataAsync(*wanted, timeout=0),
            contract=contract,
            ask=ask_for("reqHistoricalData", *wanted),
        )
        if not found:
            raise NoDataError(162, f"IB has no {what} of it", contract)
        return found

    async def _params(self, under: Contract) -> list[OptionChain]:
        """Return IB's parameters of a chain: the book's of today, or asked for."""
        book, now = await self._book(), clock.now()
        question, group = f"CHAIN:{under.conId}", group_name("CHAIN")
        known = await asyncio.to_thread(book.find, question, group) if book else None
        ready = self._link.state == "ready"
        if known and book and (not ready or book.holds(known, "CHAIN", now)):
            return [OptionChain(*row) for row in known.value]
        self.requests += 1
        found: list[OptionChain] = await self._link.request(
            "option chain",
            lambda ib: ib.reqSecDefOptParamsAsync(
                under.symbol,
                under.exchange if under.secType == "FUT" else "",
                under.secType,
                under.conId,
            ),
            contract=under,
        )
        if book and found:
            value: Any = to_value(found)
            await asyncio.to_thread(book.keep_value, question, value, group, now)
        return found or []

    @on_loop
    async def qualify(self, chain: Chain, *, progress: bool = False) -> Chain:
        """Return the options of a chain that exist, with their conIds.

        Parameters
        ----------
        chain : Chain
            Whole, or what `Chain.select` has left of it.
        progress : bool
            Show a bar.

        Returns
        -------
        Chain
            With the columns ``con_id local_symbol``, without the rows that IB does not list;
            ``requests`` counts those for this.

        Notes
        -----
        One request for each expiry of each class, or for each strike, whichever are fewer: a whole
        chain of thousands takes as many requests as it has expiries.
        """
        before = self.requests
        table = chain.table.assign(con_id=0, local_symbol="")
        with tqdm(total=len(chain), disable=not progress, desc="options") as bar:
            for _, rows in chain.table.groupby("trading_class"):
                part = replace(chain, table=rows.drop(columns=_NUMBERS, errors="ignore"))
                found = await self._qualify(part.contracts(), bar.update)
                table.loc[rows.index, "con_id"] = [each[0].conId if each else 0 for each in found]
                names = [each[0].localSymbol if each else "" for each in found]
                table.loc[rows.index, "local_symbol"] = names
        listed = table[table["con_id"] > 0].reset_index(drop=True)
        return replace(chain, table=listed, requests=self.requests - before)


def _home(under: Contract, params: Sequence[OptionChain]) -> str:
    """Return where the options on an underlying trade: SMART, where that is offered."""
    offered = {each.exchange for each in params}
    homes = ["SMART"] if under.secType != "FUT" else []
    homes += [under.exchange, under.primaryExchange]
    only = next(iter(offered)) if len(offered) == 1 else homes[0]
    return next((home for home in homes if home in offered), only)


def realised(closes: Sequence[float]) -> float:
    """Return the yearly volatility of some daily closes.

    >>> round(realised([100, 101, 100, 101, 100]), 3)
    0.182
    """
    moves = np.diff(np.log(closes))
    if len(moves) < 2:
        raise ValueError(f"a volatility needs three closes at least, there are {len(closes)}")
    return float(np.std(moves, ddof=1) * np.sqrt(TRADING_DAYS))


_NUMBERS = ["con_id", "local_symbol"]
SESSIONS = 30
TRADING_DAYS = 252
