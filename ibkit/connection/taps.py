"""Historical bars as they came: a request made here gets its message's fields, no object a bar.

ib_async's decoder has a table of handlers by kind of message; the one of historical bars is
wrapped, and what was not asked for here passes to ib_async's own handler as ever. What marks a
request of ours is the container that ib_async keeps for its answer. So whatever ends a request
there (an error, a deadline, a cancellation, a lost connection) leaves nothing behind here.
Runs on the loop thread only. Not here: what the fields mean (`ibkit.history.wire`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from ib_async.util import formatIBDatetime

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

    from ib_async import IB, Contract

    Fields = list[str]

BARS: Final = 17


class Answer(list[str]):
    """The fields of one message."""

    __slots__ = ()


async def bars(
    ib: IB,
    contract: Contract,
    end: datetime | date | str | None,
    duration: str,
    bar_size: str,
    what_to_show: str,
    use_rth: bool,  # noqa: FBT001 - in the order of ib_async's call
) -> Answer:
    """Ask for historical bars, with times as seconds since 1970; return the message.

    To be called by `Link.request`, which knows how to end it; the parameters are those of
    `IB.reqHistoricalDataAsync`.
    """
    client = cast("Any", ib.client)  # ib_async is typed in part only
    handlers = client.decoder.handlers
    if not isinstance(handlers[BARS], _Tap):  # each time: another decoder may have come
        handlers[BARS] = _Tap(ib.wrapper, handlers[BARS])
    number = ib.client.getReqId()
    answer = cast("Any", ib.wrapper).startReq(number, contract, Answer())
    wanted = (formatIBDatetime(end), duration, bar_size, what_to_show, use_rth)
    client.reqHistoricalData(
        number, contract, *wanted, formatDate=2, keepUpToDate=False, chartOptions=[]
    )
    return cast("Answer", await answer)


class _Tap:
    """The handler of one kind of message: hands on what was asked for here, or elsewhere."""

    def __init__(self, wrapper: object, theirs: Callable[[Fields], None]) -> None:
        self._wrapper = cast("Any", wrapper)
        self._theirs = theirs

    def __call__(self, fields: Fields) -> None:
        number = _number(fields)
        answer = self._wrapper._results.get(number)  # noqa: SLF001 - a reset replaces it; it has no other way in
        if type(answer) is not Answer:
            self._theirs(fields)
            return
        answer.extend(fields)
        self._wrapper._endReq(number)  # noqa: SLF001 - as above


def _number(fields: Fields) -> int | None:
    """Return the request that a message answers; None if it does not say."""
    try:
        return int(fields[1])
    except (IndexError, ValueError):
        return None
