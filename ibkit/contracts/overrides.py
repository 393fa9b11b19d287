"""What a user knows better: one file, `contracts.toml` beside `ibkit.toml`, validated as a whole.

    [prefer]                            # which of several listings a bare name means, in order
    currencies = ["USD", "EUR"]
    [listings]                          # or name it outright: shorthand = shorthand
    VOD = "VOD@LSE:GBP"
    [futures.ES]                        # any column of the futures table, for one root
    min_tick = "0.50"
    [roll.CL]                           # when the front month changes; [roll.default] for the rest
    days = 5
    [holidays.CME]                      # by exchange, or by product: [holidays."CME ES"]
    closed = [2026-12-24]
    early = { "2026-11-27" = "12:15" }  # local time of the exchange
    [margins.ES]                        # money for one contract, used when IB cannot be asked
    initial = "21000"

Whoever applies a row says so in its repr, by `Overrides.said`. Not here: the applying.
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from ibkit import naming
from ibkit.contracts import mistakes
from ibkit.contracts.specs import MONTH_CODES, load_specs
from ibkit.errors import SettingsError, ShorthandError

if TYPE_CHECKING:
    from typing import Self

FILE: Final = "contracts.toml"
DEFAULT: Final = "default"


def _as_decimal(value: Any) -> Any:
    """Refuse a float, which is not the number that was written."""
    if isinstance(value, float):
        raise ValueError(f"write it in quotes, as {str(value)!r}: a price is exact")  # noqa: TRY004 - pydantic's own
    return value


def _as_months(value: Any) -> Any:
    """Return the months behind their letters: ``"HMUZ"``."""
    if isinstance(value, str):
        if wrong := set(value) - set(MONTH_CODES):
            raise ValueError(f"{min(wrong)!r} is no month; the letters are {MONTH_CODES}")
        return tuple(sorted(MONTH_CODES.index(letter) + 1 for letter in value))
    return value


def _as_time(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise ValueError(f"{value!r} is no time of day; write '13:00'")
    return value


def _as_day(value: Any) -> Any:
    if isinstance(value, datetime):
        raise ValueError("write a date without a time")  # noqa: TRY004 - pydantic's own
    return value


def _as_currency(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", text):
        raise ValueError(f"{text!r} is no currency; nearest: {text.strip().upper()[:3] or 'USD'}")
    return text


def _as_shorthand(text: str) -> str:
    try:
        naming.parse(text)
    except ShorthandError as error:
        raise ValueError(str(error)) from error
    return text


Money = Annotated[Decimal, BeforeValidator(_as_decimal), Field(gt=0)]
Months = Annotated[tuple[int, ...], BeforeValidator(_as_months)]
Day = Annotated[date, BeforeValidator(_as_day)]
Clock = Annotated[time, BeforeValidator(_as_time)]
Currency = Annotated[str, AfterValidator(_as_currency)]
Shorthand = Annotated[str, AfterValidator(_as_shorthand)]


class Row(BaseModel):
    """A table of the file; what it does not say is None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def said(self) -> dict[str, Any]:
        """Return what the file says, field by field."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}


class FutureRow(Row):
    """`[futures.<root>]`: instead of what the futures table says, see `FutureSpec`."""

    name: str | None = None
    ib_symbol: str | None = None
    exchange: str | None = None
    trading_class: str | None = None
    currency: Currency | None = None
    multiplier: Money | None = None
    price_magnifier: int | None = Field(default=None, ge=1)
    min_tick: Money | None = None
    months: Months | None = None
    delivery: Literal["cash", "physical"] | None = None
    hours: str | None = None
    calendar: str | None = None
    last_trade: str | None = None
    first_notice: str | None = None


class RollRow(Row):
    """`[roll.<root>]` or `[roll.default]`: when the front month changes.

    Attributes
    ----------
    rule : {"days", "volume", "open interest"}
        By the calendar, or when more is traded, or held, in the next month.
    days : int
        How many days before `before` a contract stops being the front month.
    before : {"safe day", "expiry", "first notice"}
        What the days are counted from; the safe day is the earlier of the two others.
    business_days : bool
        Whether `days` counts trading days; calendar days otherwise.
    months : tuple of int
        The months that are rolled through, instead of the product's liquid ones.
    """

    rule: Literal["days", "volume", "open interest"] | None = None
    days: int | None = Field(default=None, ge=0, le=250)
    before: Literal["safe day", "expiry", "first notice"] | None = None
    business_days: bool | None = None
    months: Months | None = None


class HolidayRow(Row):
    """`[holidays.<exchange>]`: days without trading, early closes, and days that trade after all.

    Times are local to the exchange.
    """

    closed: tuple[Day, ...] = ()
    open: tuple[Day, ...] = ()
    early: dict[Day, Clock] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_one_word_a_day(self) -> Self:
        days = [*self.closed, *self.open, *self.early]
        if twice := sorted({day for day in days if days.count(day) > 1}):
            raise ValueError(f"{twice[0]} is named twice")
        return self


class MarginRow(Row):
    """`[margins.<root>]`: money for one contract; short as long, unless it says so."""

    currency: Currency | None = None
    initial: Money | None = None
    maintenance: Money | None = None
    initial_short: Money | None = None
    maintenance_short: Money | None = None


class PreferRow(Row):
    """`[prefer]`: which of several matches a name without these words means, first word first.

    Attributes
    ----------
    currencies, exchanges, primary_exchanges : tuple of str
        In order of preference. What none of them tells apart stays ambiguous.
    standard_class : bool
        Of futures and options, the class that is called like the symbol: SPX, not SPXW; and an
        option that was never adjusted.
    """

    currencies: tuple[Currency, ...] = ()
    exchanges: tuple[str, ...] = ()
    primary_exchanges: tuple[str, ...] = ()
    standard_class: bool = False


class Overrides(Row):
    """The whole file. Make one with `load_overrides`; ``Overrides()`` changes nothing.

    Attributes
    ----------
    source : str
        The file's name, as reprs show it; empty without a file.
    """

    source: str = ""
    prefer: PreferRow = PreferRow()
    listings: dict[Shorthand, Shorthand] = Field(default_factory=dict)
    futures: dict[str, FutureRow] = Field(default_factory=dict)
    roll: dict[str, RollRow] = Field(default_factory=dict)
    holidays: dict[str, HolidayRow] = Field(default_factory=dict)
    margins: dict[str, MarginRow] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_listings(self) -> Self:
        for wanted in self.listings:
            self.listed(wanted)
        return self

    def listed(self, wanted: str) -> str:
        """Return the shorthand that `wanted` stands for; itself, if no listing is preferred.

        >>> Overrides(listings={"VOD": "VOD@LSE:GBP"}).listed("VOD")
        'VOD@LSE:GBP'
        """
        seen = [wanted]
        while (following := self.listings.get(seen[-1])) is not None:
            if following in seen:
                raise ValueError(f"listings: {' = '.join([*seen, following])} goes round")
            seen.append(following)
        return seen[-1]

    def spec(self, root: str) -> dict[str, Any]:
        """Return the fields of the futures table that are overridden for `root`."""
        row = self.futures.get(root)
        return row.said() if row else {}

    def hours(self) -> dict[str, str]:
        """Return the hours, by root, that are overridden."""
        return {root: row.hours for root, row in self.futures.items() if row.hours}

    def roll_rule(self, root: str) -> dict[str, Any]:
        """Return what is said about the roll of `root`, over what is said of all."""
        rows = (self.roll.get(DEFAULT), self.roll.get(root))
        return {name: value for row in rows if row for name, value in row.said().items()}

    def holiday(self, exchange: str, symbol: str = "") -> HolidayRow:
        """Return the days of an exchange; those of its product go first.

        A product is named by its root or by IB's symbol (``"CME 6E"``, ``"CME EUR"``). A day that
        its row names is not taken from the exchange's.
        """
        names = [
            symbol,
            *(
                spec.symbol
                for spec in load_specs().values()
                if (spec.ib_symbol, spec.exchange) == (symbol, exchange)
            ),
        ]
        keys = (f"{exchange} {name}" for name in names)
        own = next((self.holidays[key] for key in keys if key in self.holidays), HolidayRow())
        whole = self.holidays.get(exchange, HolidayRow())
        named = {*own.closed, *own.open, *own.early}
        return HolidayRow(
            closed=(*own.closed, *(day for day in whole.closed if day not in named)),
            open=(*own.open, *(day for day in whole.open if day not in named)),
            early={**{d: at for d, at in whole.early.items() if d not in named}, **own.early},
        )

    def words(self, table: str, key: str = "") -> str:
        """Return what a repr adds about a row: ``"overridden: days=5 (contracts.toml)"``, or "".

        >>> Overrides(source="contracts.toml", roll={"CL": RollRow(days=5)}).words("roll", "CL")
        'overridden: days=5 (contracts.toml)'
        """
        found: Row | dict[str, Row] = getattr(self, table)
        row = found if isinstance(found, Row) else found.get(key)
        if row is None or not row.said():
            return ""
        fields = ", ".join(f"{name}={_plain(value)}" for name, value in row.said().items())
        head = "overridden" if key else table
        return f"{head}: {fields} ({self.source or 'given'})"

    def __repr__(self) -> str:
        counts = {
            name: len(getattr(self, name))
            for name in ("listings", "futures", "roll", "holidays", "margins")
        }
        parts = [f"{count} {name}" for name, count in counts.items() if count]
        parts += ["preferences"] if self.prefer.said() else []
        return f"<Overrides {self.source or 'none'}{': ' if parts else ''}{', '.join(parts)}>"


def _plain(value: Any) -> str:
    """Return a value as the file would say it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_plain(k)}: {_plain(v)}" for k, v in value.items()) + "}"
    return str(value)


def load_overrides(folder: Path | str | None) -> Overrides:
    """Return what the `contracts.toml` of a workspace says; nothing, if there is none.

    Parameters
    ----------
    folder : Path or str or None
        The workspace, or the file itself.

    Raises
    ------
    SettingsError
        The file is no TOML, or one of its entries is unknown, of the wrong type or out of range;
        or it is about a product, rule or exchange that is not known; all problems at once, each
        with its line, its key, and what is near it.
    """
    path = Path(folder) if folder else None
    if path is not None and path.suffix != ".toml":
        path = path / FILE
    if path is None or not path.is_file():
        return Overrides()
    try:
        text = path.read_text(encoding="utf-8")
        found = tomllib.loads(text)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([str(error)], str(path)) from error
    problems = list(mistakes.key_problems(found, text))
    if "source" in found:
        problems.append(mistakes.told(("source",), "is no key", mistakes.lines_of(text)))
        del found["source"]
    try:
        made = Overrides(source=path.name, **found)
    except ValidationError as error:
        problems += mistakes.problems_of(error, Overrides, text)
        raise SettingsError(sorted(problems, key=mistakes.line_in), str(path)) from error
    if problems:
        raise SettingsError(sorted(problems, key=mistakes.line_in), str(path))
    return made
