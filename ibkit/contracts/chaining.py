"""Option chains on a connection: fetched once a day, qualified in as few requests as possible.

A mixin of `Contracts`. Not here: the table and the choice of rows (`ibkit.contracts.chains`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ib_async import OptionChain
from tqdm.auto import tqdm

from ibkit import clock
from ibkit.connection.loop import on_loop
from ibkit.contracts.asking import Asking
from ibkit.contracts.book import group_name
from ibkit.contracts.chains import Chain, make_chain, to_value
from ibkit.contracts.picking import contract_in
from ibkit.errors import UnknownContractError

if TYPE_CHECKING:
    from ib_async import Contract

    from ibkit.contracts.asking import ContractLike


class Chaining(Asking):
    """Which options there are. A part of `Contracts`."""

    @on_loop
    async def chain(
        self, under: ContractLike, *, exchange: str | None = None, spot: float | None = None
    ) -> Chain:
        """Return the options on an underlying, as expiries and strikes of each class.

        Parameters
        ----------
        under : str or Contract
            A stock, an index or a future: ``"SPY"``, ``"IND:SPX"``, ``"FUT:ES:202612"``.
        exchange : str, optional
            Where the options trade; SMART, and for options on futures the future's own.
        spot : float, optional
            The underlying's price, for `Chain.select` by moneyness and delta.

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
        Costs one `reqSecDefOptParams` a day, however many strikes there are.
        """
        found = contract_in(await self._resolve(under))
        before = self.requests
        params = await self._params(found)
        where = exchange or (found.exchange if found.secType == "FUT" else "SMART")
        made = make_chain(found, params, clock.now().date(), exchange=where, spot=spot)
        if not len(made):
            venues = ", ".join(sorted({each.exchange for each in params})) or "no exchange"
            raise UnknownContractError(200, f"options on it are on {venues}, not {where}", found)
        return replace(made, requests=self.requests - before)

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


_NUMBERS = ["con_id", "local_symbol"]
