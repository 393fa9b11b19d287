"""`kit.history.plan`: what a backfill would ask for, and what it costs, before it is paid.

Asks IB for nothing that is known already: instruments and schedules are cached. Not here: the
arithmetic (`price`).
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final, Unpack

from ib_async import Contract
from tqdm.std import tqdm

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.errors import IbkitError, LoopThreadError, NotConnectedError, StoreError
from ibkit.history import doors
from ibkit.history.preparing import Preparing
from ibkit.history.price import Budget, frame_of, in_turn, row_of
from ibkit.history.series import Series

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.series import Query
    from ibkit.history.spans import When

# series that are looked up at once; a bar of progress shows when it takes longer than that
AT_ONCE: Final = 16
SHOW_AFTER_S: Final = 2.0
ENDS_ALL: Final = (NotConnectedError, StoreError, LoopThreadError)


class Planning(Preparing):
    """What it costs: `plan`, `price`."""

    @on_loop
    async def plan(
        self,
        symbols: ContractLike | Sequence[ContractLike],
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        **query: Unpack[Query],
    ) -> pd.DataFrame:
        """Return what a backfill would ask for, and how long it would take; it asks for no bars.

        Parameters
        ----------
        symbols : str, Contract or sequence of them
            The instruments; the other parameters are those of `bars`.

        Returns
        -------
        DataFrame
            One row a series, in the order of `symbols`: ``instrument bar_size what_to_show use_rth
            start end sessions`` (of the span); ``holes`` in the store and the ``requests`` that
            close them; ``rows`` and ``bytes`` that come at most; ``minutes`` and ``done_at``, if
            it were asked for alone from now on, after what all processes have used of IB's
            windows. ``reason``: why a part of it, or all, is not asked for. ``attrs``: ``requests
            rows bytes minutes done_at`` of all series together.

        Raises
        ------
        NotConnectedError, StoreError
            Nothing can be planned.
        IbkitError
            Of the one instrument, if there is one only.

        Notes
        -----
        Costs a `reqContractDetails` for each instrument and a schedule for each market and year
        that nobody has asked for before.

        Examples
        --------
        >>> plan = kit.history.plan(["AAPL", "MSFT"], "1 min", "2026-10-19", "2026-10-23")
        >>> plan["requests"].tolist(), plan.attrs["rows"]
        ([5, 5], 3900)
        """
        alone = isinstance(symbols, str | Contract)
        several = doors.several_of(symbols)
        turns = asyncio.Semaphore(AT_ONCE)
        with tqdm(
            total=len(several), desc="plan", unit="series", delay=SHOW_AFTER_S, file=sys.stderr
        ) as bar:

            async def one(each: ContractLike) -> Series | IbkitError:
                async with turns:
                    try:
                        return await self.prepare.aio(each, bar_size, start, end, **query)
                    except ENDS_ALL:
                        raise
                    except IbkitError as error:
                        if alone:
                            raise
                        return error
                    finally:
                        bar.update()

            found = await asyncio.gather(*map(one, several))
        return await self._priced(found, several, bar_size)

    @on_loop
    async def price(self, all_series: Sequence[Series]) -> pd.DataFrame:
        """Return what closing the holes of prepared series costs, as a frame; see `plan`."""
        return await self._priced(all_series, [each.contract for each in all_series], "")

    async def _priced(
        self,
        found: Sequence[Series | IbkitError],
        names: Sequence[ContractLike],
        bar_size: str,
    ) -> pd.DataFrame:
        budget = await self._budget(found)
        return await asyncio.to_thread(_frame, found, names, bar_size, budget)

    async def _budget(self, found: Sequence[Series | IbkitError]) -> Budget:
        """Return what IB's rules leave now, to all processes."""
        sizes = {each.bar_size for each in found if isinstance(each, Series)}
        measured = await asyncio.to_thread(
            lambda: {one.ib: self._steps.seconds(one) for one in sizes}
        )
        answer_s = {name: seconds for name, seconds in measured.items() if seconds is not None}
        ledger = self._link.permits.ledger
        if ledger is None:
            return Budget(answer_s=answer_s)
        books, at = await ledger.look()
        return Budget(books, at, ledger.limits, answer_s)


def _frame(
    found: Sequence[Series | IbkitError],
    names: Sequence[ContractLike],
    bar_size: str,
    budget: Budget,
) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for each, name in zip(found, names, strict=True):
        if isinstance(each, Series):
            rows.append(row_of(each, budget))
        else:
            text = name if isinstance(name, str) else naming.shorthand(name)
            rows.append(_refused(text, bar_size, each))
    together = [each for each in found if isinstance(each, Series)]
    minutes = budget.seconds(in_turn(together)) / 60
    return frame_of(rows, clock.now(), minutes)


def _refused(name: str, bar_size: str, error: IbkitError) -> dict[str, Any]:
    """Return the row of an instrument that cannot be planned."""
    counts = dict.fromkeys(("sessions", "holes", "requests", "rows", "bytes", "minutes"), 0)
    words = {"what_to_show": "", "reason": str(error).partition("\n")[0]}
    return {"instrument": name, "bar_size": bar_size, "use_rth": True, **counts, **words}
