"""Ask again, when asking again may help: by the kind of the error, under a deadline.

Orders never come this way. Not here: what is waited for between two attempts (`link`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, RetryCallState

from ibkit.errors import NotConnectedError, PacingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def retrying(
    ask: Callable[[], Awaitable[T]],
    mended: Callable[[BaseException, float], Awaitable[bool]],
    *,
    within_s: float,
) -> T:
    """Return what `ask` returns, or raise its last error.

    Parameters
    ----------
    ask : callable
        One attempt.
    mended : callable
        Gets the error and the seconds that are left; waits until an attempt has a chance, and says
        whether it has.
    within_s : float
        Seconds, on the loop's clock, after which nothing is tried again.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s

    def over(state: RetryCallState) -> bool:  # noqa: ARG001 - tenacity's signature
        return loop.time() >= end

    async def try_again(state: RetryCallState) -> bool:
        outcome = state.outcome
        error = outcome.exception() if outcome is not None else None
        if error is None or not isinstance(error, (NotConnectedError, PacingError)):
            return False
        left = end - loop.time()
        return left > 0 and await mended(error, left)

    attempts = AsyncRetrying(retry=try_again, stop=over, sleep=asyncio.sleep, reraise=True)
    return await attempts(ask)
