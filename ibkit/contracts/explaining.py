"""How a name has become an instrument: whose word that was, and how old it is.

A mixin of `Contracts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.book import kind_of
from ibkit.contracts.completing import complete
from ibkit.contracts.picking import contract_in
from ibkit.contracts.specs import find_spec

if TYPE_CHECKING:
    from datetime import datetime

    from ib_async import Contract, ContractDetails

    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.book import Answer
    from ibkit.contracts.overrides import Overrides
    from ibkit.contracts.rolls import RollRule


@dataclass(frozen=True)
class Resolution:
    """A name, what it stands for, and why; its repr says so in one line.

    Attributes
    ----------
    name : str
        What was asked for.
    contract : Contract
        What it is.
    reasons : tuple of str
        What chose it, where IB alone did not: the user's listing or preference, the roll rule.
    as_of : datetime or None
        When IB said so; None without a store.
    holds : bool
        Whether that is young enough not to be asked again.
    """

    name: str
    contract: Contract
    reasons: tuple[str, ...] = ()
    as_of: datetime | None = None
    holds: bool = True

    def __repr__(self) -> str:
        told = f"IB, {self.as_of:%Y-%m-%d %H:%M} UTC" if self.as_of else "IB"
        said = "; ".join([*self.reasons, told if self.holds else f"{told}, old"])
        number = f" conId {self.contract.conId}" if self.contract.conId else ""
        return f"<{self.name} is {naming.shorthand(self.contract)}{number}: {said}>"


class Explaining:
    """Says why a name means what it means. A part of `Contracts`."""

    _loop: LoopThread
    _overrides: Overrides

    if TYPE_CHECKING:

        def _described(self, wanted: str | Contract) -> Contract: ...
        async def _resolve(self, wanted: str | Contract) -> ContractDetails: ...
        async def _known(
            self, description: Contract, max_age_days: float | None
        ) -> tuple[Answer | None, bool]: ...
        def roll_rule(self, root: str) -> RollRule: ...  # noqa: D102 - see `Rolling`

    @on_loop
    async def explain(self, wanted: str | Contract) -> Resolution:
        """Return what a name stands for, and whose word that is.

        Raises
        ------
        AmbiguousContractError, UnknownContractError, ShorthandError
            As `contract`.

        Examples
        --------
        >>> kit.contracts.explain("VOD")  # doctest: +SKIP
        <VOD is VOD@LSE:GBP conId 448008207: listings: VOD = VOD@LSE:GBP (contracts.toml); IB, …>
        """
        found = contract_in(await self._resolve(wanted))
        described = self._described(wanted)
        description = complete(described, clock.now().date())
        known, holds = await self._known(description, None)
        reasons = self._listing(wanted)
        if kind_of(description) == "MONTHS":
            spec = find_spec(found.symbol, trading_class=found.tradingClass)
            reasons.append(f"front month by {self.roll_rule(spec.symbol if spec else '')}")
        elif self._preferred(wanted, described, known):
            reasons.append(self._overrides.words("prefer"))
        name = wanted if isinstance(wanted, str) else naming.shorthand(wanted)
        at = known.at if known else None
        return Resolution(name, found, tuple(reasons), at, holds or known is None)

    def _listing(self, wanted: str | Contract) -> list[str]:
        text = wanted.strip() if isinstance(wanted, str) else ""
        means = self._overrides.listed(text)
        source = self._overrides.source or "given"
        return [f"listings: {text} = {means} ({source})"] if means != text else []

    def _preferred(self, wanted: str | Contract, described: Contract, known: Answer | None) -> bool:
        """Whether the user's preferences had a say: in what was asked, or among several matches."""
        if not self._overrides.prefer.said():
            return False
        opened = False
        if isinstance(wanted, str):
            plain = naming.parse(self._overrides.listed(wanted.strip()))
            opened = described.currency != plain.currency
        return opened or (known is not None and len(known.matches) > 1)
