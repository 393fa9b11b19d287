"""The ledger's file: rows in SQLite, owners by a lock each, one clock for all processes.

Blocking, safe in any thread. A killed process leaves its owner's file unlocked; whoever finds no
room looks for such owners and frees what they held. Bookings stay: IB counts them, too.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import platformdirs

from ibkit import clock
from ibkit.connection.asks import CLIENT_ID
from ibkit.connection.budget import Ask, Books, Round, plan_round
from ibkit.connection.owners import Owner
from ibkit.errors import LedgerError, LoopThreadError
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ibkit.connection.pacing import Limit
    from ibkit.settings import Profile

log = get_logger(__name__)
VERSION: Final = 1
BUSY_S: Final = 5.0
# a queue that touches more pages than this reads the books whole
FEW: Final = 12
BOOKED: Final = "SELECT rule, key, at, cost FROM bookings"
HELD: Final = "SELECT rule, key, cost FROM leases"
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0", ""})  # noqa: S104 - compared, not bound
TABLES: Final = f"""
CREATE TABLE IF NOT EXISTS bookings (
  grant_key TEXT NOT NULL, rule TEXT NOT NULL, key TEXT NOT NULL, at REAL NOT NULL,
  until REAL NOT NULL, cost INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS bookings_rule ON bookings (rule, key);
CREATE INDEX IF NOT EXISTS bookings_until ON bookings (until);
CREATE INDEX IF NOT EXISTS bookings_grant ON bookings (grant_key);
CREATE TABLE IF NOT EXISTS leases (
  grant_key TEXT NOT NULL, owner TEXT NOT NULL, rule TEXT NOT NULL, key TEXT NOT NULL,
  cost INTEGER NOT NULL, since TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS leases_rule ON leases (rule, key);
CREATE INDEX IF NOT EXISTS leases_grant ON leases (grant_key);
CREATE TABLE IF NOT EXISTS owners (id TEXT PRIMARY KEY, pid INTEGER NOT NULL, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS clock (base REAL NOT NULL);
PRAGMA user_version = {VERSION};
"""


def ledger_path(host: str, port: int, folder: Path | None = None) -> Path:
    """Return the file of the gateway at `host`:`port`: the same for every workspace of a user.

    >>> ledger_path("localhost", 4002, Path("state")).as_posix()
    'state/pacing-local-4002.sqlite'
    """
    folder = folder or Path(platformdirs.user_state_dir("ibkit"))
    place = "local" if host.lower() in LOOPBACK else re.sub(r"[^a-z0-9.-]", "_", host.lower())
    return folder / f"pacing-{place}-{port}.sqlite"


def ledger_of(profile: Profile, root: Path) -> Path:
    """Return the ledger's file of a profile; the simulated gateway of a data root has its own."""
    if profile.kind == "sim":
        return root / "gateway" / "pacing.sqlite"
    # 127.0.0.1 behind a tunnel is another machine's
    host = f"{profile.tunnel} {profile.host}" if profile.tunnel else profile.host
    return ledger_path(host, profile.port)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lease: the process, its own words for itself, what, since when (ISO, UTC)."""

    pid: int
    name: str
    key: str
    cost: int
    since: str

    def __str__(self) -> str:
        return f"process {self.pid}" + (f" ({self.name})" if self.name else "")


class Bookkeeper:
    """The rows of one gateway, and our own name among their owners."""

    def __init__(
        self, path: Path | None, *, now: Callable[[], float] | None = None, name: str = ""
    ) -> None:
        self.path = path
        self._name = name or Path(sys.argv[0] or "python").name
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._closed = False
        self._now = now
        self._base = 0.0
        with self._ours():
            self._db = self._open()
            self._owner = Owner(path and path.with_suffix(".owners"))
            row = (self._owner.name, self._pid, self._name)
            self._db.execute("INSERT INTO owners VALUES (?, ?, ?)", row)
        if now is None:
            self._base = self._agree()
        BOOKKEEPERS.add(self)

    def now(self) -> float:
        """Return seconds on the clock that all processes share."""
        return self._now() if self._now is not None else clock.monotonic() + self._base

    def grant(
        self, asked: Sequence[tuple[Ask, str]], limits: Mapping[str, Limit]
    ) -> tuple[float, Round]:
        """Book what of a queue may go at this instant; return the instant and the decision."""
        asks = [ask for ask, _ in asked]
        with self._change() as db:
            now = self.now()
            db.execute("DELETE FROM bookings WHERE until <= ?", (now,))
            plan = plan_round(asks, self._load(db, asks), limits, now)
            full = any(not hold.rule.window_s for hold in plan.held.values())
            if full and self._bury(db):
                plan = plan_round(asks, self._load(db, asks), limits, now)
            for place in plan.granted:
                self._write(db, *asked[place], limits, now)
        return now, plan

    def take_id(self, ids: Iterable[int], key: str) -> tuple[int | None, float]:
        """Lease the first of `ids` that is free; None if none is."""
        with self._change() as db:
            self._bury(db)
            rows = db.execute("SELECT key FROM leases WHERE rule = ?", (CLIENT_ID,))
            held = {int(row[0]) for row in rows}
            found = next((each for each in ids if each not in held), None)
            if found is not None:
                self._lease(db, key, CLIENT_ID, str(found), 1)
        return found, self.now()

    def move(self, grant_key: str, later_s: float) -> None:
        """Let a booking count from later on."""
        with self._change() as db:
            db.execute(
                "UPDATE bookings SET at = at + ?, until = until + ? WHERE grant_key = ?",
                (later_s, later_s, grant_key),
            )

    def book(self, ask: Ask, grant_key: str, limits: Mapping[str, Limit]) -> None:
        """Book what was sent, whether there was room or not; leases stay as they are."""
        timed = {name: limit for name, limit in limits.items() if limit.window_s}
        with self._change() as db:
            self._write(db, ask, grant_key, timed, self.now())

    def give_back(self, grant_key: str, *, unsent: bool) -> None:
        """Free what a grant holds; if its request was never sent, forget that it was booked."""
        with self._change() as db:
            db.execute("DELETE FROM leases WHERE grant_key = ?", (grant_key,))
            if unsent:
                db.execute("DELETE FROM bookings WHERE grant_key = ?", (grant_key,))

    def holders(self, rule: str) -> list[Holder]:
        """Return who holds leases of a rule; the dead are buried first."""
        with self._change() as db:
            self._bury(db)
            rows = db.execute(
                "SELECT pid, name, key, cost, since FROM leases JOIN owners ON owner = id "
                "WHERE rule = ? ORDER BY leases.rowid",
                (rule,),
            ).fetchall()
        return [Holder(*row) for row in rows]

    def read(self) -> Books:
        """Return the books as they are; the dead are buried first."""
        with self._change() as db:
            self._bury(db)
            db.execute("DELETE FROM bookings WHERE until <= ?", (self.now(),))
            return self._load(db)

    def check_process(self) -> None:
        """Raise LoopThreadError in a forked child: file and thread are the parent's."""
        if os.getpid() != self._pid:
            raise LoopThreadError(
                "This ledger belongs to the parent of this process; open one of your own."
            )

    def close(self) -> None:
        """Give back whatever is held, and strike us off the owners. Again is allowed."""
        if self._closed:
            return
        self._closed = True
        BOOKKEEPERS.discard(self)
        if os.getpid() != self._pid:
            return
        with self._lock:
            with suppress(sqlite3.Error):  # what stays is found by the next who looks: no lock
                self._forget(self._db, self._owner.name)
            self._db.close()
            self._owner.close()

    def after_fork(self) -> None:
        """Keep the parent's connection open in the child, whose lock `owners` has let go."""
        INHERITED.append(self._db)  # closing it here could end the parent's log

    # --- the file --------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self.path is None:
            db = self._connect(":memory:")
            db.executescript(TABLES)
            return db
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            try:
                return self._prepare(self.path)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                log.warning("the ledger was damaged; a new one is begun", reason=str(error))
                self._set_aside(self.path)
                return self._prepare(self.path)

    def _prepare(self, path: Path) -> sqlite3.Connection:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        db = self._connect(str(path))
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            _check_version(path, version)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # a power cut may lose a second, no process can
            if version == 0:
                db.executescript(TABLES)
        except BaseException:
            db.close()
            raise
        return db

    def _connect(self, name: str) -> sqlite3.Connection:
        return sqlite3.connect(
            name,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=64,
        )

    def _set_aside(self, path: Path) -> None:
        path.replace(path.with_suffix(".broken"))
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening: two that repair would undo each other."""
        assert self.path is not None
        descriptor = os.open(
            self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _ours(self) -> Iterator[None]:
        """Turn what the disk says into our error."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, LedgerError):
                raise
            reason = getattr(error, "strerror", None) or str(error)
            raise LedgerError(self.path or "in memory", reason) from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """Yield the file inside one transaction."""
        self.check_process()
        with self._ours(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # --- rows ------------------------------------------------------------------------------------

    def _load(self, db: sqlite3.Connection, asks: Sequence[Ask] | None = None) -> Books:
        """Return the books; for a short queue only the pages that it needs."""
        pages = {charge[:2] for ask in asks for charge in ask.charges} if asks is not None else None
        if pages is None or len(pages) > FEW:
            return Books.of(_rows(db, BOOKED), _rows(db, HELD))
        booked = [row for page in pages for row in _rows(db, BOOKED, page)]
        return Books.of(booked, [row for page in pages for row in _rows(db, HELD, page)])

    def _write(
        self, db: sqlite3.Connection, ask: Ask, key: str, limits: Mapping[str, Limit], now: float
    ) -> None:
        for charge in ask.charges:
            limit = limits.get(charge.rule)
            if limit is None:
                continue
            if limit.window_s:
                row = (key, charge.rule, charge.key, now, now + limit.span_s, charge.cost)
                db.execute("INSERT INTO bookings VALUES (?, ?, ?, ?, ?, ?)", row)
            else:
                self._lease(db, key, *charge)

    def _lease(self, db: sqlite3.Connection, key: str, rule: str, name: str, cost: int) -> None:
        since = clock.now().isoformat(timespec="seconds")
        row = (key, self._owner.name, rule, name, cost, since)
        db.execute("INSERT INTO leases VALUES (?, ?, ?, ?, ?, ?)", row)

    # --- owners ----------------------------------------------------------------------------------

    def _bury(self, db: sqlite3.Connection) -> int:
        """Free what dead owners held; return how many there were."""
        rows = db.execute("SELECT id FROM owners WHERE id != ?", (self._owner.name,)).fetchall()
        dead = [owner for (owner,) in rows if not self._owner.alive(owner)]
        for owner in dead:
            self._forget(db, owner)
            self._owner.bury(owner)
        return len(dead)

    def _forget(self, db: sqlite3.Connection, owner: str) -> None:
        db.execute("DELETE FROM leases WHERE owner = ?", (owner,))
        db.execute("DELETE FROM owners WHERE id = ?", (owner,))

    # --- the clock -------------------------------------------------------------------------------

    def _agree(self) -> float:
        """Return what to add to the monotonic clock, so that all processes read the same.

        That clock is the machine's: one for all processes, and no change of the system's time
        moves it. It starts anew with the machine; then the base is moved, so that no row lies in
        the future. Rows may look younger than they are after that, never older.
        """
        with self._change() as db:
            found = db.execute("SELECT base FROM clock").fetchone()
            last = db.execute("SELECT max(at) FROM bookings").fetchone()[0] or 0.0
            if found is not None and clock.monotonic() + found[0] >= last:
                return float(found[0])
            base = max(clock.now().timestamp(), last) - clock.monotonic()
            db.execute("DELETE FROM clock")
            db.execute("INSERT INTO clock VALUES (?)", (base,))
        return base


def _rows(
    db: sqlite3.Connection, select: str, page: tuple[str, str] | None = None
) -> Iterator[tuple[Any, ...]]:
    return db.execute(f"{select} WHERE rule = ? AND key = ?", page) if page else db.execute(select)


def _check_version(path: Path, version: int) -> None:
    if version not in {0, VERSION}:
        raise LedgerError(path, f"another version of ibkit made it (format {version})")


BOOKKEEPERS: Final[WeakSet[Bookkeeper]] = WeakSet()
# connections of a parent process, kept from being closed in the child
INHERITED: Final[list[sqlite3.Connection]] = []


def _after_fork() -> None:
    for each in tuple(BOOKKEEPERS):
        each.after_fork()
    BOOKKEEPERS.clear()


os.register_at_fork(after_in_child=_after_fork)
