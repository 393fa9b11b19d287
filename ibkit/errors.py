"""One tree of errors; IB's codes become one of them by the table of `ibkit.codes`.

Every error that a user can meet is an `IbkitError`; each also *is* the builtin that it
resembles, keeps its facts as attributes, and makes its text from them: what happened, why,
what to do. IB's code and words stay as IB sent them.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from ibkit import codes
from ibkit.log import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from ib_async import Contract


class IbkitError(Exception):
    """Everything that ibkit raises on purpose."""


# --- settings and the workspace ----------------------------------------------------------------


class SettingsError(IbkitError, ValueError):
    """A setting is unknown, of the wrong type or out of range: `problems`, found in `source`."""

    def __init__(self, problems: Sequence[str], source: str) -> None:
        super().__init__(problems, source)
        self.problems, self.source = tuple(problems), source

    def __str__(self) -> str:
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"The settings from {self.source} are not valid:\n{lines}"


class UnknownProfileError(SettingsError, LookupError):
    """No profile has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        IbkitError.__init__(self, name, known)
        self.name, self.known = name, tuple(known)

    def __str__(self) -> str:
        near = get_close_matches(self.name, self.known, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        return (
            f"There is no profile {self.name!r}; the profiles are {', '.join(self.known)}.{meant}\n"
            "Hint: connect() without a name uses the simulated gateway, connect('paper') TWS or "
            "IB Gateway with a paper login."
        )


# --- the connection ------------------------------------------------------------------------------


class GatewayError(IbkitError, ConnectionError):
    """Something stands between us and the gateway at `host`:`port`."""

    def __init__(self, host: str, port: int, reason: str, hint: str = "") -> None:
        super().__init__(host, port, reason, hint)
        self.host, self.port, self.reason, self.hint = host, port, reason, hint

    def __str__(self) -> str:
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{self.host}:{self.port}: {self.reason}{hint}"


class GatewayUnreachableError(GatewayError):
    """Nothing listens at that address."""


class GatewaySilentError(GatewayError, TimeoutError):
    """The socket opened and nobody spoke: not logged in, or not a TWS."""


class ClientIdInUseError(GatewayError):
    """IB 326: another program is connected with this client id."""


class AccountMismatchError(GatewayError):
    """The login behind the socket is not of the profile's kind (live behind "paper", say)."""


class GatewayTooOldError(GatewayError):
    """The gateway speaks an older protocol than we do."""


class PortInUseError(IbkitError, OSError):
    """The simulated gateway cannot listen on `port`: somebody else does."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.host, self.port = host, port

    def __str__(self) -> str:
        return (
            f"{self.host}:{self.port} is taken by another program.\n"
            "Hint: choose another port (--port), or --port 0 to let the system choose."
        )


class SeedMismatchError(IbkitError, ValueError):
    """The simulated gateway at `folder` has made its prices from `seed`; `wanted` is another."""

    def __init__(self, folder: Path, seed: int, wanted: int) -> None:
        super().__init__(folder, seed, wanted)
        self.folder, self.seed, self.wanted = folder, seed, wanted

    def __str__(self) -> str:
        return (
            f"The simulated prices in {self.folder} come from seed {self.seed}, not {self.wanted}; "
            "two histories must not mix.\n"
            f"Hint: leave the seed out, or use another workspace for seed {self.wanted}."
        )


class SimulationError(IbkitError, ValueError):
    """The simulated gateway has no such fault, trigger or option, or cannot do it now."""


class NotConnectedError(IbkitError, ConnectionError):
    """The connection is not in a state that can answer."""

    def __init__(self, state: str, wanted: str) -> None:
        super().__init__(state, wanted)
        self.state, self.wanted = state, wanted

    def __str__(self) -> str:
        hint = "ibkit.connect() opens a new one."
        if self.state in {"reconnecting", "syncing", "connecting", "degraded"}:
            hint = "it comes back by itself; kit.wait_ready() waits, kit.while_away() tells."
        return f"{self.wanted} needs a connection that is ready; it is {self.state}.\nHint: {hint}"


class OfflineError(NotConnectedError):
    """Only IB can tell `wanted`, and this is `ibkit.offline()` of the profile `name`."""

    def __init__(self, wanted: str, name: str) -> None:
        super().__init__("offline", wanted)
        self.args = (wanted, name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"The store does not say it, and nobody can be asked offline ({self.wanted}).\n"
            f"Hint: known() lists what is kept; ibkit.connect({self.name!r}) asks IB, once."
        )


class LoopThreadError(IbkitError, RuntimeError):
    """A call came from a place where it can never end, or from a forked process."""


class OwnedByKitError(IbkitError, AttributeError):
    """`kit.ib.<name>` would work behind the kit's back: `why`."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(name, why)
        self.name, self.why = name, why

    def __str__(self) -> str:
        return f"kit.ib.{self.name} belongs to the kit: {self.why}."


class LedgerError(IbkitError, OSError):
    """The ledger of IB's limits at `path` cannot be used: `reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return (
            f"The ledger of IB's limits {self.path} cannot be used: {self.reason}.\n"
            "Hint: check the folder's owner, mode and free space; without ibkit running the file "
            "may be deleted, it only remembers the last ten minutes."
        )


class BudgetSpentError(IbkitError, TimeoutError):
    """IB's limit `rule` leaves no room for `what`, nor within the caller's patience.

    `next_s` is when there will be room, in seconds; None: when one of `holders` gives back.
    """

    def __init__(
        self, what: str, rule: str, most: int, next_s: float | None, holders: Sequence[str] = ()
    ) -> None:
        super().__init__(what, rule, most, next_s, holders)
        self.what, self.rule, self.most = what, rule, most
        self.next_s, self.holders = next_s, tuple(holders)

    def __str__(self) -> str:
        if self.next_s is None:
            when = "there is room when one is given back"
        elif self.next_s == float("inf"):
            when = "it asks for more than there ever is"
        else:
            when = f"there is room in {self.next_s:.1f} s"
        held = f"\nHeld by {', '.join(self.holders)}." if self.holders else ""
        return f"{self.what} has to wait: {self.rule}, {self.most} at most; {when}.{held}"


class EndpointRefusedError(IbkitError, ValueError):
    """A port of ours (metrics, say) is not opened at `host`:`port`: `reason`."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(host, port, reason)
        self.host, self.port, self.reason = host, port, reason

    def __str__(self) -> str:
        return (
            f"Nothing listens at {self.host}:{self.port}: {self.reason}.\n"
            "Hint: leave host= out and reach it through `ssh -L`, or give certificate= and key=."
        )


# --- requests ------------------------------------------------------------------------------------


class RequestTimeoutError(IbkitError, TimeoutError):
    """The gateway did not answer `request` within `timeout_s` seconds; it was cancelled there."""

    def __init__(self, request: str, timeout_s: float) -> None:
        super().__init__(request, timeout_s)
        self.request, self.timeout_s = request, timeout_s

    def __str__(self) -> str:
        return (
            f"No answer to {self.request} within {self.timeout_s:g} s; the request was cancelled.\n"
            "Hint: look at the gateway's own window; ask for less, or pass a larger timeout_s."
        )


class UnreadableAnswerError(IbkitError, ValueError):
    """IB's answer to `request` does not have the shape that it should have: `reason`."""

    def __init__(self, request: str, reason: str) -> None:
        super().__init__(request, reason)
        self.request, self.reason = request, reason

    def __str__(self) -> str:
        return (
            f"IB's answer to {self.request} cannot be read: {redact(self.reason)}.\n"
            "Hint: nothing was stored of it; ask again, and report it if it comes again."
        )


class RequestRefusedError(IbkitError):
    """IB answered a request with an error: `code`, `reason`, `contract`.

    `kind` and `cause` say in our words what `ibkit.codes` knows of it; empty for an unknown code.
    """

    hint = ""

    def __init__(self, code: int, reason: str, contract: Contract | None = None) -> None:
        super().__init__(code, reason, contract)
        self.code, self.reason, self.contract = code, reason, contract
        known = codes.find(code, reason)
        self.kind: str = known.kind if known else ""
        self.cause = known.cause if known else ""
        if known and known.fix:
            self.hint = known.fix

    def __str__(self) -> str:
        about = f" for {describe(self.contract)}" if self.contract else ""
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"IB {self.code}{about}: {redact(self.reason)}{hint}"


class UnknownContractError(RequestRefusedError, LookupError):
    """No instrument matches the description; `candidates` may have been meant, as shorthand."""

    hint = "check symbol, exchange and currency; 'AAPL@LSE:GBP' names both."

    def __init__(
        self,
        code: int,
        reason: str,
        contract: Contract | None = None,
        candidates: Sequence[str] = (),
    ) -> None:
        super().__init__(code, reason, contract)
        self.hint = type(self).hint  # of IB 200 the class knows more than the code
        self.candidates = tuple(candidates)
        self.args = (code, reason, contract, self.candidates)

    def __str__(self) -> str:
        near = f"\nThere is: {', '.join(self.candidates)}" if self.candidates else ""
        return super().__str__() + near


class WrongCurrencyError(UnknownContractError):
    """The instrument is not traded in this currency there; `candidates` say in which it is."""

    hint = "name another currency, as in 'VOD@LSE:GBP'."


class ExpiredContractError(UnknownContractError):
    """The contract has expired, and IB tells nothing about it any more."""

    hint = "IB keeps expired futures for about two years, and expired options not at all."


class DelistedContractError(UnknownContractError):
    """IB knew this instrument once and does not any more: delisted, renamed or merged."""

    hint = "kit.contracts.changes() lists what else has changed; bars that are stored stay."


class NotListedError(UnknownContractError):
    """The product is listed, but not with this expiry, strike or class; `candidates` are near."""

    hint = "name one that is listed; kit.contracts.chain(…) has the expiries and strikes."


class NoDataError(RequestRefusedError, LookupError):
    """IB has no data for this instrument and span; that is an answer, not a failure."""

    hint = "no trades in that span, or the instrument did not exist yet."

    def __init__(self, code: int, reason: str, contract: Contract | None = None) -> None:
        super().__init__(code, reason, contract)
        if self.kind != "no data":  # the words are ours
            self.hint = type(self).hint


class PacingError(RequestRefusedError):
    """Too many requests too fast, by IB's rules."""

    hint = "wait; historical requests for bars of 30 secs or less are limited to 60 in 10 minutes."


class LimitError(RequestRefusedError):
    """As many subscriptions as IB allows are open already."""


class NoPermissionError(RequestRefusedError, PermissionError):
    """The account has no market data subscription for this."""

    hint = (
        "Account Management > Market Data Subscriptions; delayed data needs reqMarketDataType(3)."
    )


class ContractNotAllowedError(NoPermissionError):
    """The account may not trade this instrument."""


class RequestCancelledError(RequestRefusedError):
    """The request was cancelled before it was answered."""


class NotYetError(NoDataError):
    """The span is too fresh for IB to have all of it; `at` is when asking again makes sense."""

    hint = ""

    def __init__(
        self, code: int, reason: str, contract: Contract | None = None, at: datetime | None = None
    ) -> None:
        super().__init__(code, reason, contract)
        self.at = at
        self.args = (code, reason, contract, at)
        when = f" after {at:%Y-%m-%d %H:%M} UTC" if at else " later"
        self.hint = f"ask again{when}; nothing was remembered as empty."


class UnansweredError(RequestRefusedError, LookupError):
    """IB's answer has no rows and no reason, so nobody can tell whether there are any."""

    hint = "ask again later; look at the data farms with kit.status(). Nothing was remembered."


class NeverAvailableError(NoDataError):
    """IB keeps no such history, by its own rules; nothing was asked."""

    hint = ""

    def __init__(
        self, code: int, reason: str, contract: Contract | None = None, instead: str = ""
    ) -> None:
        super().__init__(code, reason, contract)
        self.args = (code, reason, contract, instead)
        self.hint = self.instead = instead

    def __str__(self) -> str:
        about = f"{describe(self.contract)}: " if self.contract else ""
        hint = f"\nHint: {self.hint}" if self.hint else ""
        return f"{about}{self.reason}; nothing was asked.{hint}"


class WrongSeriesError(IbkitError, ValueError):
    """IB has no bars of `what` for this kind of instrument; `legal` are those that it has."""

    def __init__(
        self, what: str, contract: Contract | None, reason: str, legal: Sequence[str] = ()
    ) -> None:
        super().__init__(what, contract, reason, legal)
        self.what, self.contract, self.reason, self.legal = what, contract, reason, tuple(legal)

    def __str__(self) -> str:
        about = f" of {describe(self.contract)}" if self.contract else ""
        legal = f"\nHint: there is {', '.join(self.legal)}." if self.legal else ""
        return f"No {self.what} bars{about}: {self.reason}; nothing was asked.{legal}"


class AmbiguousContractError(IbkitError, LookupError):
    """The description fits more than one instrument: `candidates`, as (shorthand, words).

    `table` has a row for each, as a mapping of column to text, for who wants more than the words;
    ``pandas.DataFrame(error.table)`` is a frame of it.
    """

    def __init__(
        self,
        wanted: str,
        candidates: Sequence[tuple[str, str]],
        table: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(wanted, candidates, table)
        self.wanted, self.candidates = wanted, tuple(candidates)
        self.table = tuple(table)

    def __str__(self) -> str:
        rows = self.table or [{"shorthand": one, "": words} for one, words in self.candidates]
        columns = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
        lines = [columns, *([row[name] for name in columns] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = "\n".join("  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return f"{self.wanted!r} could be any of these; name one by its shorthand:\n{text}"


class ShorthandError(IbkitError, ValueError):
    """`text` is no instrument shorthand: what is wrong at `position`, and what was expected.

    `nearest` is a text that can be read and may have been meant.
    """

    def __init__(self, text: str, position: int, expected: str, nearest: str = "") -> None:
        super().__init__(text, position, expected, nearest)
        self.text, self.position, self.expected = text, position, expected
        self.nearest = nearest

    def __str__(self) -> str:
        near = f"\nNearest that can be read: {self.nearest}" if self.nearest else ""
        return (
            f"Cannot read {self.text!r} as an instrument, at position {self.position}:\n"
            f"  {self.text}\n  {' ' * self.position}^ expected {self.expected}{near}"
        )


class BackfillIncompleteError(IbkitError):
    """Some series of a backfill failed: `failures` are (instrument, how often, first reason).

    What came is stored; `report` says how much.
    """

    def __init__(self, failures: Sequence[tuple[str, int, str]], report: object = None) -> None:
        super().__init__(failures, report)
        self.failures, self.report = tuple(failures), report

    def __str__(self) -> str:
        lines = "\n".join(
            f"  - {name}: " + reason.replace("\n", "\n    ") for name, _, reason in self.failures
        )
        return (
            f"{len(self.failures)} series could not be fetched in full; everything else is "
            f"stored:\n{lines}\nHint: run it again; it asks only for what is missing."
        )


class JobQueueError(IbkitError, OSError):
    """The queue of jobs at `path` cannot be used: `reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return (
            f"The queue of jobs {self.path} cannot be used: {self.reason}.\n"
            "Hint: check the owner, mode and free space there. What was fetched is in the store; "
            "if the file is damaged or of another version, move it away while no job runs, and run "
            "the backfill again: it asks only for what is missing."
        )


class StaleJobError(IbkitError, RuntimeError):
    """The job `key` was worked on for too long without a sign of life, and another one has it."""

    def __init__(self, kind: str, key: str) -> None:
        super().__init__(kind, key)
        self.kind, self.key = kind, key

    def __str__(self) -> str:
        return f"The claim on job {self.kind} {self.key} is lost; nothing was written for it."


# --- orders --------------------------------------------------------------------------------------


class InvalidOrderError(IbkitError, ValueError):
    """The order breaks a rule of its instrument; nothing was sent."""


class PanicError(IbkitError, TimeoutError):
    """Everything was told to be cancelled, and `left` is still open after `timeout_s` seconds."""

    def __init__(self, left: Sequence[str], timeout_s: float) -> None:
        super().__init__(left, timeout_s)
        self.left, self.timeout_s = tuple(left), timeout_s

    def __str__(self) -> str:
        return (
            f"{len(self.left)} orders are still open {self.timeout_s:g} s after everything was "
            f"cancelled: {', '.join(self.left)}.\n"
            "Hint: IB has the request; look into TWS, and call IB's trade desk if they stay."
        )


class ReadOnlyError(IbkitError, PermissionError):
    """Orders are not allowed on this connection; nothing was sent."""

    def __init__(self, profile: str) -> None:
        super().__init__(profile)
        self.profile = profile

    def __str__(self) -> str:
        return (
            f"The {self.profile!r} connection is read-only; no order was sent.\n"
            f"Hint: connect({self.profile!r}, trading=True) allows orders"
            + (", with account= typed in full." if self.profile == "live" else ".")
        )


class DuplicateIntentError(IbkitError, ValueError):
    """An order with this intent is in the journal already; nothing was sent."""

    def __init__(self, key: str, state: str, order_ref: str) -> None:
        super().__init__(key, state, order_ref)
        self.key, self.state, self.order_ref = key, state, order_ref

    def __str__(self) -> str:
        return (
            f"The intent {self.key!r} is in the journal as {self.state} ({self.order_ref}); "
            "nothing was sent.\nHint: again=True places a second order on purpose; a new key= "
            "names a new intent."
        )


class OrderRefusedError(RequestRefusedError):
    """IB rejected the order."""


class OrderRoadError(IbkitError, PermissionError):
    """`kit.ib.<name>` would send an order past the checks and the journal; nothing was sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return (
            f"kit.ib.{self.name} would go past the checks and the journal; nothing was sent.\n"
            "Hint: kit.orders.place(contract, order) takes the same arguments; what-ifs pass."
        )


class UnknownOrderError(IbkitError, LookupError):
    """No order of this connection has this id, key or reference."""


class OrderPendingError(IbkitError, TimeoutError):
    """Order `order_ref` is not over after `timeout_s` seconds; it is `status`."""

    def __init__(self, order_ref: str, status: str, timeout_s: float) -> None:
        super().__init__(order_ref, status, timeout_s)
        self.order_ref, self.status, self.timeout_s = order_ref, status, timeout_s

    def __str__(self) -> str:
        return (
            f"The order {self.order_ref} is {self.status} after {self.timeout_s:g} s; it may go on "
            "working.\nHint: kit.orders.open() asks IB, kit.orders.cancel(…) ends it."
        )


# --- the store -----------------------------------------------------------------------------------


class StoreError(IbkitError):
    """The store cannot do this."""


class StoreAccessError(StoreError, OSError):
    """The file system refused: `path`, `reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return (
            f"The store cannot use {self.path}: {self.reason}.\n"
            "Hint: check the folder's owner, mode and free space, or name another with data= in "
            "ibkit.toml."
        )


class StoreBusyError(StoreError, TimeoutError):
    """Another writer held the lock `path` for all of `timeout_s` seconds; nothing was written."""

    def __init__(self, path: Path | str, timeout_s: float) -> None:
        super().__init__(str(path), timeout_s)
        self.path, self.timeout_s = str(path), timeout_s

    def __str__(self) -> str:
        return (
            f"Another process was writing the same instrument for {self.timeout_s:g} s "
            f"(lock {self.path}); nothing was written.\n"
            "Hint: try again; if no ibkit runs, see who holds it with `fuser` or `lsof`."
        )


class InvalidRowsError(StoreError, ValueError):
    """Rows break a promise of their dataset: `failures` are (check, n, first rows as text)."""

    def __init__(self, dataset: str, failures: Sequence[tuple[str, int, str]]) -> None:
        super().__init__(dataset, failures)
        self.dataset, self.failures = dataset, tuple(failures)

    def __str__(self) -> str:
        lines = "\n".join(
            f"  - {check}: {f'{n} rows, ' if n else ''}{first}" for check, n, first in self.failures
        )
        return f"Nothing was written to {self.dataset}; the rows break its rules:\n{lines}"


class CorruptFileError(StoreError):
    """A file of the store cannot be read back: `path`, `reason`."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.reason}"


class TamperedFileError(CorruptFileError):
    """A file of an encrypted dataset is not what its key signed: damaged, exchanged, or plain."""

    def __str__(self) -> str:
        return (
            f"{self.path} is not as it was written: {self.reason}.\n"
            "Hint: nothing of it was used; store.verify() lists all such files, a backup or the "
            "history has them as they were."
        )


class MissingKeyError(StoreError, LookupError):
    """The key `key` of an encrypted dataset is nowhere: `looked` says where it was looked for."""

    def __init__(self, dataset: str, key: str, looked: Sequence[str]) -> None:
        super().__init__(dataset, key, looked)
        self.dataset, self.key, self.looked = dataset, key, tuple(looked)

    def __str__(self) -> str:
        places = "\n".join(f"  - {place}" for place in self.looked)
        return (
            f"The key {self.key} of {self.dataset} is in none of these places:\n{places}\n"
            "Nothing was read or written; rows are never written plain instead."
        )


class RoleError(StoreError, PermissionError):
    """The role may not do that: `role`, `what`, and who may."""

    def __init__(self, role: str, what: str, needs: str) -> None:
        super().__init__(role, what, needs)
        self.role, self.what, self.needs = role, what, needs

    def __str__(self) -> str:
        return f"A {self.role} of a store may not {self.what}; that takes the {self.needs}."


class ConditionsIgnoredError(StoreError):
    """The endpoint of a bucket does not hold conditional puts: `url`, `ignored`."""

    def __init__(self, url: str, ignored: Sequence[str]) -> None:
        super().__init__(url, ignored)
        self.url, self.ignored = url, tuple(ignored)

    def __str__(self) -> str:
        return (
            f"The endpoint of {self.url} ignores {' and '.join(self.ignored)}: of two writers at "
            "the same time one would lose its rows, so nothing was opened for writing.\n"
            "Hint: open it with role='reader', with writers='one' if nobody else ever writes "
            "there, or use an endpoint that holds conditional writes."
        )


class ProfileMixError(StoreError, ValueError):
    """Simulated and real rows never share a root."""


class UnknownSeriesError(StoreError, LookupError):
    """The store holds nothing under this name."""


class AdjustedBarsError(StoreError, ValueError):
    """Bars of ADJUSTED_LAST are kept nowhere."""

    def __str__(self) -> str:
        return (
            "ADJUSTED_LAST is refused: each dividend and each split changes all of its past, so "
            "bars of two days do not fit together, and IB gives it only up to now.\n"
            "Hint: store TRADES and read them adjusted: bars(..., adjusted=True), see "
            "kit.history.factors()."
        )


class NotAdjustableError(StoreError, ValueError):
    """These bars cannot be adjusted: `what`, `why`, and what to do instead."""

    def __init__(self, what: str, why: str, hint: str) -> None:
        super().__init__(what, why, hint)
        self.what, self.why, self.hint = what, why, hint

    def __str__(self) -> str:
        return f"{self.what} cannot be adjusted: {self.why}.\nHint: {self.hint}"


class UnknownFactorsError(StoreError, LookupError):
    """What prices are adjusted by is not known: of `instrument`, `why`, and what finds it out."""

    def __init__(self, instrument: str, why: str, hint: str) -> None:
        super().__init__(instrument, why, hint)
        self.instrument, self.why, self.hint = instrument, why, hint

    def __str__(self) -> str:
        return f"{self.instrument} is not adjusted: {self.why}.\nHint: {self.hint}"


class PrunedError(StoreError, LookupError):
    """What `instrument` looked like at `at` is not kept any more; `since`: from when on it is."""

    def __init__(self, instrument: str, at: datetime, since: datetime | None) -> None:
        super().__init__(instrument, at, since)
        self.instrument, self.at, self.since = instrument, at, since

    def __str__(self) -> str:
        kept = f"from {self.since:%Y-%m-%d %H:%M:%S} on" if self.since else "nothing of it"
        return (
            f"{self.instrument} cannot be read as of {self.at:%Y-%m-%d %H:%M:%S} UTC: the files of "
            f"that time were pruned, kept is {kept}."
        )


class WorkerDiedError(StoreError, RuntimeError):
    """A process ended without an answer while it worked on `instrument`."""

    def __init__(self, instrument: str) -> None:
        super().__init__(instrument)
        self.instrument = instrument

    def __str__(self) -> str:
        return (
            f"The process that worked on {self.instrument} ended without an answer.\n"
            "Hint: it may have run out of memory; give a shorter span or fewer columns."
        )


# --- continuous futures ------------------------------------------------------------------------


class StitchError(IbkitError, ValueError):
    """Futures contracts cannot be joined: `why`, and what to do."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why, hint)
        self.why, self.hint = why, hint

    def __str__(self) -> str:
        return f"{self.why}.\nHint: {self.hint}"


class MissingContractError(StitchError, LookupError):
    """A contract of the chain has no bars, nor can they be fetched."""


class NoCommonBarError(StitchError, LookupError):
    """Two contracts have no bar in common in the last session before the roll."""


# --- notebooks -----------------------------------------------------------------------------------


class NotebookError(IbkitError):
    """A notebook cannot be run."""


class UnknownNotebookError(NotebookError, LookupError):
    """No curated notebook has this name."""


class ParameterError(NotebookError, ValueError):
    """A parameter has an unknown name or a value of the wrong type; nothing was run."""

    def __init__(self, notebook: str, problems: Sequence[str]) -> None:
        super().__init__(notebook, problems)
        self.notebook, self.problems = notebook, tuple(problems)

    def __str__(self) -> str:
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        return f"{self.notebook} was not run; its parameters do not fit:\n{lines}"


class NotebookFailedError(NotebookError, RuntimeError):
    """A cell raised: `notebook`, `cell`, the error's own words, and the kept output file."""

    def __init__(self, notebook: str, cell: int, error: str, output: Path | str) -> None:
        super().__init__(notebook, cell, error, str(output))
        self.notebook, self.cell, self.error, self.output = notebook, cell, error, str(output)

    def __str__(self) -> str:
        return f"{self.notebook} stopped in cell {self.cell}: {self.error}\nKept: {self.output}"


# --- IB's codes ---------------------------------------------------------------------------------

# "The security is not available or allowed for this account"
NOT_ALLOWED: Final = 203
# the class of a kind of message; what is not here is a plain `RequestRefusedError`
CLASSES: Final[dict[codes.Kind, type[RequestRefusedError]]] = {
    "pacing": PacingError,
    "limit": LimitError,
    "permission": NoPermissionError,
    "unknown contract": UnknownContractError,
    "no data": NoDataError,
    "cancelled": RequestCancelledError,
    "order refused": OrderRefusedError,
}


def refused(code: int, reason: str, contract: Contract | None = None) -> RequestRefusedError:
    """Return the error for IB message `code`.

    >>> refused(200, "No security definition has been found for the request").__class__.__name__
    'UnknownContractError'
    """
    known = codes.find(code, reason)
    kind = CLASSES.get(known.kind, RequestRefusedError) if known else RequestRefusedError
    if code == NOT_ALLOWED:
        kind = ContractNotAllowedError
    return kind(code, reason, contract)


def describe(contract: Contract) -> str:
    """Return the few words that tell a reader which instrument is meant."""
    parts = (
        contract.secType,
        contract.localSymbol or contract.symbol,
        contract.lastTradeDateOrContractMonth if not contract.localSymbol else "",
        contract.exchange,
        contract.currency,
    )
    return " ".join(part for part in parts if part) or f"conId {contract.conId}"
