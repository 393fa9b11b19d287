"""The journal of orders: what we meant to do, written and synced before it was done.

One SQLite file an account (WAL, synchronous=FULL), shared by all processes; each change is one
`BEGIN IMMEDIATE` that writes the intent's row and a line of a hash-chained audit log. The chain's
head is kept in a file beside it, so that a cut tail shows. Blocking: services call it in a worker
thread. Not here: IB; the states are what the desk heard from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from ibkit import clock
from ibkit.errors import DuplicateIntentError, IbkitError, UnknownOrderError
from ibkit.log import CALL
from ibkit.timing import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Self

State = Literal["intended", "sent", "working", "filled", "cancelled", "refused", "unknown"]

# what may follow what; IB has the last word, so a late fill may overtake a cancel
FOLLOWS: Final[Mapping[State, frozenset[State]]] = {
    "intended": frozenset({"sent", "working", "filled", "cancelled", "refused", "unknown"}),
    "sent": frozenset({"working", "filled", "cancelled", "refused", "unknown"}),
    "working": frozenset({"working", "filled", "cancelled", "refused", "unknown"}),
    "unknown": frozenset({"working", "filled", "cancelled", "refused", "unknown"}),
    "refused": frozenset({"working", "filled", "cancelled"}),
    "cancelled": frozenset({"working", "filled"}),
    "filled": frozenset(),
}
UNRESOLVED: Final[tuple[State, ...]] = ("intended", "sent", "unknown")
DONE: Final = frozenset({"filled", "cancelled", "refused"})
REPEAT_S: Final = 60.0
KEY: Final = re.compile(r"[A-Za-z0-9_.\-]{1,40}")
BUSY_S: Final = 10.0
ZERO: Final = "0" * 64
TABLES: Final = """
CREATE TABLE IF NOT EXISTS intents (
  order_ref TEXT PRIMARY KEY, key TEXT NOT NULL, leg TEXT NOT NULL, attempt INTEGER NOT NULL,
  state TEXT NOT NULL, fingerprint TEXT NOT NULL, contract TEXT NOT NULL, order_text TEXT NOT NULL,
  quantity REAL NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  client_id INTEGER NOT NULL, pid INTEGER NOT NULL, order_id INTEGER NOT NULL,
  perm_id INTEGER NOT NULL,
  filled REAL NOT NULL, average_price REAL NOT NULL, reason TEXT NOT NULL,
  UNIQUE (key, leg, attempt));
CREATE INDEX IF NOT EXISTS intents_fingerprint ON intents (fingerprint);
CREATE INDEX IF NOT EXISTS intents_state ON intents (state);
CREATE TABLE IF NOT EXISTS audit (
  seq INTEGER PRIMARY KEY, at TEXT NOT NULL, event TEXT NOT NULL, body TEXT NOT NULL,
  hash TEXT NOT NULL);
"""


class JournalBrokenError(IbkitError):
    """The audit log of `path` does not add up at line `seq`: `reason`."""

    def __init__(self, path: Path | str, seq: int, reason: str) -> None:
        super().__init__(str(path), seq, reason)
        self.path, self.seq, self.reason = str(path), seq, reason

    def __str__(self) -> str:
        return (
            f"The order journal {self.path} was changed by hand at line {self.seq}: {self.reason}"
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done, before it has a name: the part of an intent that the caller knows.

    Attributes
    ----------
    contract, order_text : str
        For people: the instrument's shorthand, ``"BUY 100 LMT 189.5 DAY"``.
    fingerprint : str
        Equal for orders that do the same thing, see `fingerprint`.
    key : str or None
        The caller's name for it.
    leg : str
        Which order of the key's group.
    """

    contract: str
    order_text: str
    fingerprint: str
    quantity: float
    key: str | None = None
    leg: str = "1"
    client_id: int = 0
    order_id: int = 0


@dataclass(frozen=True, slots=True)
class Intent:
    """One order as the journal knows it."""

    order_ref: str
    key: str
    leg: str
    attempt: int
    state: State
    fingerprint: str
    contract: str
    order_text: str
    quantity: float
    created_at: str
    updated_at: str
    client_id: int
    pid: int
    order_id: int
    perm_id: int
    filled: float
    average_price: float
    reason: str

    @property
    def done(self) -> bool:
        """Whether nothing more is expected to happen."""
        return self.state in DONE


class Journal:
    """The intents of one account.

    Parameters
    ----------
    path : Path
        The SQLite file; made with mode 0600, its folder with 0700. ``<name>.head`` lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._head = path.with_suffix(".head")
        self._lock = threading.Lock()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        with self._lock:
            self._db.close()

    def intend(self, wish: Wish, *, again: bool = False) -> Intent:
        """Write down what is about to be sent; it is on the disk when this returns.

        Raises
        ------
        DuplicateIntentError
            The key was used, or (without a key) the same order was meant in the last 60 s or has
            an unknown fate; `again` allows both.
        ValueError
            The key has a character that an order reference cannot carry.
        """
        key = self._new_key() if wish.key is None else check_key(wish.key)
        with self._transaction() as db:
            if not again:
                self._refuse_duplicate(db, wish, key)
            intent = self._new(db, wish, key)
            names = ", ".join(asdict(intent))
            marks = ", ".join(f":{name}" for name in asdict(intent))
            db.execute(f"INSERT INTO intents ({names}) VALUES ({marks})", asdict(intent))  # noqa: S608 - our own names
            self._log(db, "intended", asdict(intent))
        return intent

    def update(
        self,
        order_ref: str,
        state: State,
        *,
        perm_id: int = 0,
        filled: float | None = None,
        average_price: float | None = None,
        reason: str = "",
    ) -> Intent | None:
        """Note what became of an intent; return it, or None where there was nothing to note.

        What cannot follow (a `working` after a `filled`) is an old message and is passed over.
        """
        with self._transaction() as db:
            old = self._find(db, order_ref)
            if old is None:
                return None
            changes = {
                "state": state,
                "perm_id": perm_id or old.perm_id,
                "filled": max(old.filled, filled or 0.0),
                "average_price": average_price or old.average_price,
                "reason": reason or old.reason,
            }
            if state not in FOLLOWS[old.state] or _same(old, changes):
                return None
            changes["updated_at"] = _stamp(clock.now())
            sets = ", ".join(f"{name}=:{name}" for name in changes)
            db.execute(
                f"UPDATE intents SET {sets} WHERE order_ref=:order_ref",  # noqa: S608 - our own names
                {**changes, "order_ref": order_ref},
            )
            self._log(db, state, {"order_ref": order_ref, **changes})
            return self._find(db, order_ref)

    def get(self, order_ref: str) -> Intent:
        """Return one intent.

        Raises
        ------
        UnknownOrderError
            No intent has this reference.
        """
        with self._lock:
            found = self._find(self._db, order_ref)
        if found is None:
            raise UnknownOrderError(f"The journal has no order {order_ref!r}.")
        return found

    def intents(self, *states: State) -> list[Intent]:
        """Return the intents in these states (all, without any), oldest first."""
        where = f"WHERE state IN ({', '.join('?' * len(states))})" if states else ""
        with self._lock:
            rows = self._db.execute(
                f"SELECT * FROM intents {where} ORDER BY created_at, order_ref",  # noqa: S608 - marks only
                states,
            ).fetchall()
        return [Intent(**dict(row)) for row in rows]

    def verify(self) -> int:
        """Return how many lines the audit log has, having recomputed every hash.

        Raises
        ------
        JournalBrokenError
            A line was changed or taken out, or the tail that the head file names is gone.
        """
        with self._lock:
            rows = self._db.execute("SELECT * FROM audit ORDER BY seq").fetchall()
        hashes = {0: ZERO}
        for seq, row in enumerate(rows, start=1):
            if row["seq"] != seq:
                raise JournalBrokenError(self.path, seq, "a line is missing")
            if row["hash"] != _chain(hashes[seq - 1], row["at"], row["event"], row["body"]):
                raise JournalBrokenError(self.path, seq, "its hash does not fit its text")
            hashes[seq] = row["hash"]
        seq, head = self._read_head()
        if hashes.get(seq) != head:
            raise JournalBrokenError(self.path, seq, "the end that the head file names is gone")
        return len(rows)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the file's write lock; commit (synced) at the end, roll back on any error."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                with JOURNAL.timing():
                    self._db.execute("COMMIT")
                    self._write_head()
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _refuse_duplicate(self, db: sqlite3.Connection, wish: Wish, key: str) -> None:
        if wish.key is not None:
            query = "SELECT * FROM intents WHERE key=? AND leg=? ORDER BY attempt DESC LIMIT 1"
            values: tuple[Any, ...] = (key, wish.leg)
        else:
            since = _stamp(clock.now() - timedelta(seconds=REPEAT_S))
            query = (
                "SELECT * FROM intents WHERE fingerprint=? AND state != 'refused' AND "
                "(created_at >= ? OR state IN (?, ?, ?)) ORDER BY created_at DESC LIMIT 1"
            )
            values = (wish.fingerprint, since, *UNRESOLVED)
        row = db.execute(query, values).fetchone()
        if row is not None:
            raise DuplicateIntentError(row["key"], row["state"], row["order_ref"])

    def _new(self, db: sqlite3.Connection, wish: Wish, key: str) -> Intent:
        """Return the intent for a wish; a second attempt has a reference of its own."""
        (attempts,) = db.execute(
            "SELECT COUNT(*) FROM intents WHERE key=? AND leg=?", (key, wish.leg)
        ).fetchone()
        name = key if not attempts else f"{key}~{attempts + 1}"
        now = _stamp(clock.now())
        return Intent(
            order_ref=f"ibkit:{name}:{wish.leg}",
            key=key,
            leg=wish.leg,
            attempt=attempts + 1,
            state="intended",
            fingerprint=wish.fingerprint,
            contract=wish.contract,
            order_text=wish.order_text,
            quantity=wish.quantity,
            created_at=now,
            updated_at=now,
            client_id=wish.client_id,
            pid=os.getpid(),
            order_id=wish.order_id,
            perm_id=0,
            filled=0.0,
            average_price=0.0,
            reason="",
        )

    def _find(self, db: sqlite3.Connection, order_ref: str) -> Intent | None:
        row = db.execute("SELECT * FROM intents WHERE order_ref=?", (order_ref,)).fetchone()
        return None if row is None else Intent(**dict(row))

    def _new_key(self) -> str:
        return f"{clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

    def _log(self, db: sqlite3.Connection, event: str, body: dict[str, Any]) -> None:
        """Append a line to the audit log."""
        seq, previous = self._tail(db)
        if call := CALL.get():  # the user's call that this was written for, as in the log lines
            body = {**body, "call": call}
        text, at = json.dumps(body, sort_keys=True, separators=(",", ":")), _stamp(clock.now())
        digest = _chain(previous, at, event, text)
        db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?)", (seq + 1, at, event, text, digest))

    def _tail(self, db: sqlite3.Connection) -> tuple[int, str]:
        row = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        return (row["seq"], row["hash"]) if row else (0, ZERO)

    def _write_head(self) -> None:
        """Note the last line's hash outside the file; after a crash it may lag, never lead."""
        seq, digest = self._tail(self._db)
        temporary = self._head.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{seq} {digest}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._head)

    def _read_head(self) -> tuple[int, str]:
        if not self._head.exists():
            return 0, ZERO
        seq, digest = self._head.read_text(encoding="ascii").split()
        return int(seq), digest


def check_key(key: str) -> str:
    """Return `key` if an order reference can carry it."""
    if not KEY.fullmatch(key):
        raise ValueError(
            f"key={key!r} cannot be part of an order reference: 1 to 40 of A-Z a-z 0-9 _ . -"
        )
    return key


def fingerprint(*parts: object) -> str:
    """Return a short hash that is equal for orders that do the same thing.

    >>> fingerprint(265598, "BUY", 100) == fingerprint(265598, "BUY", 100)
    True
    """
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]


def _chain(previous: str, at: str, event: str, body: str) -> str:
    return hashlib.sha256(f"{previous}\x1f{at}\x1f{event}\x1f{body}".encode()).hexdigest()


def _stamp(moment: datetime) -> str:
    """Return an instant as text that sorts like time."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _same(intent: Intent, changes: Mapping[str, object]) -> bool:
    return all(getattr(intent, name) == value for name, value in changes.items())
