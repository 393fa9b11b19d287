"""What a link asks for before it is ready: the state of the account, as ib_async keeps it.

Not here: how long is waited for each answer, and what a lost one means (`link`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ib_async import IB

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Ask = Callable[[str, Callable[[IB], Awaitable[Any]]], Awaitable[Any]]


async def fetch_account(ask: Ask, account: str, accounts: Sequence[str]) -> None:
    """Fetch positions, orders and values of the account; executions last, they need the orders.

    Parameters
    ----------
    ask : callable
        Asks one question, by its name for people.
    account : str
        The one that is traded; empty if the login has several and none was named.
    accounts : sequence of str
        All of the login.
    """
    await asyncio.gather(*(ask(*question) for question in _questions(account, accounts)))
    await ask("executions", IB.reqExecutionsAsync)


def _questions(
    account: str, accounts: Sequence[str]
) -> list[tuple[str, Callable[[IB], Awaitable[Any]]]]:
    questions: list[tuple[str, Callable[[IB], Awaitable[Any]]]] = [
        ("positions", IB.reqPositionsAsync),
        ("open orders", IB.reqOpenOrdersAsync),
        ("completed orders", lambda ib: ib.reqCompletedOrdersAsync(False)),  # noqa: FBT003 - ib_async's signature
    ]
    if account:
        questions.append(("account values", lambda ib: ib.reqAccountUpdatesAsync(account)))
    else:
        questions.extend((f"values of {one}", _values_of(one)) for one in accounts)
    return questions


def _values_of(account: str) -> Callable[[IB], Awaitable[Any]]:
    return lambda ib: ib.reqAccountUpdatesMultiAsync(account)
