"""Whose money: one account, or a financial advisor's master with sub-accounts.

Not here: bookkeeping (`account`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.fills import tradable
from ibkit.sim.rules import INVALID, InvalidOrder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from ibkit.sim.account import Account
    from ibkit.sim.orders import OrderRequest

ALL: Final = "All"


class Household:
    """The accounts behind one login.

    Parameters
    ----------
    accounts : sequence of Account
        Those that trade; the first one is meant when an order names none and there is no master.
    master : str
        The advisor's own id, which trades only through allocation; empty for an individual.
    """

    def __init__(self, accounts: Sequence[Account], *, master: str = "") -> None:
        self.accounts, self.master = {one.account_id: one for one in accounts}, master
        self.first = accounts[0]

    @property
    def ids(self) -> list[str]:
        """The managed accounts, the master first."""
        return [*([self.master] if self.master else []), *self.accounts]

    def of(self, name: str) -> Account:
        """Return an account by its id; the first one when there is no such id."""
        return self.accounts.get(name, self.first)

    def group(self, name: str) -> list[Account]:
        """Return the accounts that a name or a group means; none is an empty list."""
        if name in {"", ALL} or (self.master and name in {self.master, f"{self.master}A"}):
            return list(self.accounts.values())
        return [self.accounts[name]] if name in self.accounts else []

    def check(self, request: OrderRequest) -> str:
        """Return the account of an order, or refuse the order."""
        if request.fa_group:
            if not self.master or request.fa_group != ALL:
                raise InvalidOrder(321, f"{INVALID}Invalid group '{request.fa_group}'")
            return request.account or self.master
        name = request.account or (self.master or self.first.account_id)
        if name not in self.ids:
            raise InvalidOrder(321, f"{INVALID}Invalid account code '{name}'")
        if name == self.master and self.master:
            raise InvalidOrder(435, "You must specify an account.")
        return name

    def shared(self, request: OrderRequest, shares: Decimal) -> list[tuple[Account, Decimal]]:
        """Return who gets how much of a trade: equal parts for a group, the rest to the first."""
        members = self.group(request.fa_group) if request.fa_group else [self.of(request.account)]
        if len(members) == 1 or request.legs:
            return [(members[0], shares)]
        part = tradable(shares / len(members), request.instrument)
        rest = shares - part * (len(members) - 1)
        parts = [(members[0], rest), *((one, part) for one in members[1:])]
        return [(account, amount) for account, amount in parts if amount > 0]


def household(accounts: Sequence[str], *, cash: Decimal | int = 1_000_000) -> Household:
    """Return the accounts of a list of ids; with more than one the first is an advisor's master.

    >>> household(["DUSIM0001", "DUSIM0002", "DUSIM0003"]).master
    'DUSIM0001'
    """
    from ibkit.sim.account import Account

    if len(accounts) == 1:
        return Household([Account(accounts[0], cash=cash)])
    return Household([Account(one, cash=cash) for one in accounts[1:]], master=accounts[0])
