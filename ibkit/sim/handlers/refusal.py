"""The way a handler says no: IB's code and words.

Not here: errors that users of ibkit meet (`ibkit.errors`); these travel over the socket.
"""

from __future__ import annotations

from typing import Final

HMDS: Final = "Historical Market Data Service error message:"


class RefusedError(Exception):
    """A request cannot be served; the client is told so under the request's own id."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code, self.text = code, text


def invalid(cause: str) -> RefusedError:
    """Return error 321. The quoted token is a name that changes with every build of TWS."""
    return RefusedError(321, f"Error validating request.-'bM' : cause - {cause}")


def unprocessed(cause: str) -> RefusedError:
    """Return error 322."""
    return RefusedError(322, f"Error processing request.-'bM' : cause - {cause}")


def no_definition() -> RefusedError:
    """Return error 200, as it is worded when nothing matches."""
    return RefusedError(200, "No security definition has been found for the request")


def hmds(text: str) -> RefusedError:
    """Return error 162 of the historical service."""
    return RefusedError(162, HMDS + text)
