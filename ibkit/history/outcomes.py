"""What came of one historical request: an empty answer means five things, and each has a name.

Pure: values, and the reading of IB's refusals and answers. Not here: asking (`asking`), storing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from ibkit.errors import (
    BudgetSpentError,
    ExpiredContractError,
    IbkitError,
    LimitError,
    NoDataError,
    NoPermissionError,
    NotYetError,
    PacingError,
    RequestRefusedError,
    UnansweredError,
    UnknownContractError,
)
from ibkit.history.legal import is_over
from ibkit.history.plan import period
from ibkit.log import redact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ib_async import Contract

    from ibkit.contracts.hours import Session
    from ibkit.history.plan import Request, Span
    from ibkit.schema import BarSize

Kind = Literal["data", "empty", "pacing", "no_permission", "not_yet", "unknown"]
# the worse, the later: what several answers to parts of one request come to
RANK: Final[tuple[Kind, ...]] = ("empty", "data", "not_yet", "unknown", "no_permission", "pacing")
# delayed data are 15 to 20 minutes old, and IB's history follows its live data by some more
FRESH_S: Final = 1_800.0
# a day's bar may come the next morning: volatilities and fees always do
FRESH_DAY_S: Final = 86_400.0
# so long an answer may have been cut by IB; and so much of it has to be missing in front
MAY_BE_CUT: Final = 1_000
CUT_SHARE: Final = 0.1
NO_DATA: Final = 162


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one historical request.

    Attributes
    ----------
    kind : {"data", "empty", "pacing", "no_permission", "not_yet", "unknown"}
        ``data``: rows came, and are stored. ``empty``: IB confirms that there is nothing, and that
        is remembered. The others are stored nowhere, and asked again on the next run: IB's pace
        was broken, the login may not see it, it is too fresh to be final, or nobody can tell.
    request : Request
        What was asked.
    rows, rows_new : int
        Bars or ticks in the answer, and how many of them the store had not.
    reason : str
        In words, with IB's; empty for ``data``.
    error : IbkitError, optional
        What a caller who wants this very answer should be told; None for ``data`` and ``empty``.
    """

    kind: Kind
    request: Request
    rows: int = 0
    rows_new: int = 0
    reason: str = ""
    error: IbkitError | None = None

    @property
    def final(self) -> bool:
        """Whether nobody needs to ask again."""
        return self.kind in {"data", "empty"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer of bars, or its absence, means for the span that was asked about.

    Attributes
    ----------
    kind : str
        As of an `Outcome`.
    answered : tuple of datetime, optional
        [start, end) that nobody needs to ask about again; None: nothing of it is final.
    rest : tuple of datetime, optional
        What lies before it: the answer did not reach back so far.
    reason : str
        In words; empty for ``data``.
    """

    kind: Kind
    answered: Span | None = None
    rest: Span | None = None
    reason: str = ""


def together(request: Request, outcomes: Sequence[Outcome]) -> Outcome:
    """Return what the outcomes of the parts of `request` come to: the worst, with all rows."""
    if len(outcomes) == 1:
        return replace(outcomes[0], request=request)
    worst = max(outcomes, key=lambda one: RANK.index(one.kind))
    return replace(
        worst,
        request=request,
        rows=sum(one.rows for one in outcomes),
        rows_new=sum(one.rows_new for one in outcomes),
    )


def fresh_s(bar_size: BarSize) -> float:
    """Return for how long after its end a span without bars may still get some."""
    return FRESH_S if bar_size.intraday else FRESH_DAY_S


def is_fresh(until: datetime, now: datetime, bar_size: BarSize) -> bool:
    """Whether bars up to `until` may still be on their way to IB's history."""
    return until + timedelta(seconds=fresh_s(bar_size)) > now


def judge(error: IbkitError, *, fresh: bool = False) -> Kind:
    """Return which kind of outcome an error is.

    Parameters
    ----------
    error : IbkitError
        Of a historical request.
    fresh : bool
        Whether the span is so young that "no data" may mean "not yet".

    Examples
    --------
    >>> from ibkit.errors import refused
    >>> words = "HMDS query returned no data: AAPL@SMART Trades"
    >>> judge(refused(162, words)), judge(refused(162, words), fresh=True)
    ('empty', 'not_yet')
    >>> judge(refused(162, "Historical data request pacing violation"))
    'pacing'
    """
    if isinstance(error, NotYetError):
        return "not_yet"
    if isinstance(error, NoDataError):
        return "not_yet" if fresh else "empty"
    if isinstance(error, PacingError | BudgetSpentError | LimitError):
        return "pacing"
    return "no_permission" if isinstance(error, NoPermissionError) else "unknown"


def refusal(
    error: IbkitError, request: Request, bar_size: BarSize, now: datetime, contract: Contract
) -> Outcome:
    """Return the outcome of a request that was refused, or not answered at all."""
    fresh = is_fresh(request.until, now, bar_size)
    if type(error) is UnknownContractError and is_over(contract, now):
        error = ExpiredContractError(error.code, error.reason, contract)
    kind, reason = judge(error, fresh=fresh), words_of(error)
    if kind == "empty":
        return Outcome(kind, request, reason=reason)
    if kind == "not_yet" and not isinstance(error, NotYetError):
        error = not_yet(request, bar_size, contract, reason)
    return Outcome(kind, request, reason=words_of(error), error=error)


def read(
    stamps: tuple[datetime, datetime] | None,
    received: int,
    request: Request,
    sessions: Sequence[Session],
    bar_size: BarSize,
    now: datetime,
) -> Verdict:
    """Return what an answer means for the span of `request`.

    Parameters
    ----------
    stamps : tuple of datetime, optional
        ``ts`` of the first and of the last bar within the span; None: there is none.
    received : int
        How many bars the answer had, those outside of the span as well.
    request : Request
        What was asked.
    sessions : sequence of Session
        The instrument's, ascending.
    bar_size : BarSize
        Of the bars.
    now : datetime
        When the answer came.
    """
    fresh = is_fresh(request.until, now, bar_size)
    if stamps is None and not received:
        return Verdict("unknown", reason="the answer has neither bars nor a reason")
    if stamps is None:
        if fresh:
            return Verdict("not_yet", reason="the answer has no bar in so fresh a span")
        reason = f"IB's answer has {received} bars, and none of them in the span"
        return Verdict("empty", (request.start, request.end), reason=reason)
    start, end = request.start, request.end
    inside = [each for each in sessions if each.start < end and each.end > start]
    reached = _reached(stamps[0], received, start, inside, bar_size)
    rest = None if reached is None else (start, reached)
    if fresh:
        end = min(end, _final(stamps[1], request.until, inside, bar_size, now))
    answered = (reached or start, end)
    return Verdict("data", answered if answered[0] < end else None, rest)


def _reached(
    first: datetime, received: int, start: datetime, inside: Sequence[Session], bar_size: BarSize
) -> datetime | None:
    """Return from where on an answer speaks, if it does not from `start` on.

    It falls short if whole sessions lie before its first bar; or if it is so long that IB may have
    cut it, and a good part of its first session is not in it. What is cut is cut in the middle of
    a session, so nothing is believed of the time before the first bar.
    """
    before = [each for each in inside if each.end <= first]
    held = next((each for each in inside if each.end > first), None)
    if held is None or not bar_size.intraday:
        return before[-1].end if before else None
    opened = max(held.start, start)
    if before:
        return first if first > opened else before[-1].end
    quiet = (first - opened).total_seconds() / bar_size.seconds
    return first if received >= MAY_BE_CUT and quiet > CUT_SHARE * received else None


def _final(
    last: datetime, until: datetime, inside: Sequence[Session], bar_size: BarSize, now: datetime
) -> datetime:
    """Return up to where a fresh answer is final, the bar of `last` being its last one.

    Where IB's data lag behind, its last bar is half a bar, and so is a day's whose session has
    just ended: it is stored, and asked for again.
    """
    over = _end_of(last, inside, bar_size)
    half = over < until if bar_size.intraday else over + timedelta(seconds=FRESH_S) > now
    return last if half else over


def _end_of(last: datetime, sessions: Sequence[Session], bar_size: BarSize) -> datetime:
    """Return where the bar that starts at `last` ends; of a day or more, with its last session."""
    if bar_size.intraday:
        return last + timedelta(seconds=bar_size.seconds)
    held = next((each for each in sessions if each.end > last), None)
    if held is None:
        return last
    same = period(bar_size, held.ref_date)
    return max(each.end for each in sessions if period(bar_size, each.ref_date) == same)


def unanswered(request: Request, contract: Contract, reason: str) -> Outcome:
    """Return the outcome of an answer that says nothing at all."""
    error = UnansweredError(NO_DATA, f"{reason}, for {_span(request)}", contract)
    return Outcome("unknown", request, reason=reason, error=error)


def not_yet(request: Request, bar_size: BarSize, contract: Contract, reason: str) -> NotYetError:
    """Return the error for a span that is too fresh."""
    at = request.until + timedelta(seconds=fresh_s(bar_size))
    return NotYetError(NO_DATA, f"{reason} ({_span(request)} is fresh)", contract, at)


def words_of(error: IbkitError) -> str:
    """Return an error's reason in one line, with IB's code where there is one."""
    if isinstance(error, RequestRefusedError):
        return f"IB {error.code}: {redact(error.reason)}"
    return str(error).partition("\n")[0]


def _span(request: Request) -> str:
    return f"{request.start:%Y-%m-%d %H:%M} - {request.until:%Y-%m-%d %H:%M} UTC"
