"""What may go wrong at a gateway's door, in our words: who listens there, and whose login it is.

Pure. Not here: the greeting itself (`link`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.errors import (
    AccountMismatchError,
    ClientIdInUseError,
    GatewayError,
    GatewaySilentError,
    GatewayTooOldError,
    GatewayUnreachableError,
)
from ibkit.log import mask_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibkit.settings import Endpoint, Profile, Role

LISTENS: Final = (
    "TWS listens on 7496 (live) and 7497 (paper), IB Gateway on 4001 (live) and 4002 (paper); "
    "is it running, with the API enabled and this port in its API settings?"
)
LOGIN: Final = (
    "log in to the gateway's own window, enable the API there, and let it trust this address; or "
    "another program listens on this port."
)
TAKEN: Final = (
    "another program or kernel holds this client id; close it, or connect with another client_id=. "
    "After a crash IB frees an id only when it notices, which may take a minute."
)
TOO_OLD: Final = "update TWS or IB Gateway; this kit speaks to those from 2020 on."


def id_in_use(endpoint: Endpoint, client_id: int) -> ClientIdInUseError:
    """Return the error for a 326."""
    return ClientIdInUseError(*endpoint, f"client id {client_id} is in use (IB 326)", TAKEN)


def unreachable(endpoint: Endpoint, reason: str = "nothing listens there") -> GatewayError:
    """Return the error for a port without a gateway."""
    return GatewayUnreachableError(*endpoint, reason, LISTENS)


def too_old(endpoint: Endpoint, error: OSError) -> GatewayError:
    """Return the error for a gateway whose protocol ib_async does not speak."""
    return GatewayTooOldError(*endpoint, str(error) or "it is too old", TOO_OLD)


def unfriendly(
    endpoint: Endpoint, error: OSError, timeout_s: float, *, reached: bool
) -> GatewayError:
    """Return our error for a greeting that failed.

    Parameters
    ----------
    endpoint : Endpoint
        Where.
    error : OSError
        How it ended; a TimeoutError is one.
    timeout_s : float
        How long was waited.
    reached : bool
        Whether somebody took the connection.
    """
    if not reached:
        if isinstance(error, ConnectionRefusedError):
            return unreachable(endpoint)
        return unreachable(endpoint, str(error) or f"no connection within {timeout_s:g} s")
    if isinstance(error, TimeoutError):
        reason = f"accepted the connection and stayed silent for {timeout_s:g} s"
    else:
        reason = f"accepted the connection and ended it before the greeting ({error})"
    return GatewaySilentError(*endpoint, reason, LOGIN)


def check_accounts(
    endpoint: Endpoint, profile: Profile, role: Role, accounts: Sequence[str]
) -> None:
    """Refuse a login that is not of the profile's kind.

    Raises
    ------
    AccountMismatchError
        An account is of another kind, or the profile's own is not among them.
    """
    if strange := [one for one in accounts if kind_of(one) != profile.kind]:
        reason = f"profile {profile.name!r} is {profile.kind}, and account "
        reason += f"{mask_account(strange[0])} is {kind_of(strange[0])}"
        hint = "check host and port: the login behind this port is another one."
        raise AccountMismatchError(*endpoint, reason, hint)
    if role != "data" and profile.account and profile.account not in accounts:
        reason = f"the login has no account {mask_account(profile.account)}"
        hint = f"it has {', '.join(map(mask_account, accounts))}; name one with account=."
        raise AccountMismatchError(*endpoint, reason, hint)


def kind_of(account: str) -> str:
    """Return which kind of profile an account belongs to.

    >>> [kind_of(account) for account in ("DUSIM0001", "DU1234567", "U1234567")]
    ['sim', 'paper', 'live']
    """
    if account.startswith("DUSIM"):
        return "sim"
    return "paper" if account.startswith("D") else "live"
