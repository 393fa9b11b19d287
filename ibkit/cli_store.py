"""The commands `ibkit store …`: what is stored, whether it is whole, in and out of it.

As in `ibkit.cli`, a command reads its arguments, calls the store, and says what came of it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path  # noqa: TC003 - typer reads annotations when it runs
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from ibkit.settings import Settings
    from ibkit.store import Store
    from ibkit.store.access import Role

app = typer.Typer(help="What is stored, and whether it is whole.", no_args_is_help=True)

INTERRUPTED: Final = 130
HISTORY: Final = (
    *("at", "operation", "what_to_show", "use_rth", "rows_in", "rows_added", "rows_changed"),
    *("rows_removed", "first", "last", "source", "who"),
)
AUDIT: Final = ("at", "user", "host", "pid", "role", "what", "operation", "dataset", "instrument")
AGAIN: Final = "What was done stays; the same command again goes on from there."
Profile = Annotated[str, typer.Option("--profile", help="sim, paper or live.")]
# who may read what is changed in the store that was named, never in one that was guessed
Named = Annotated[str, typer.Option("--profile", help="sim, paper, live, or one of yours.")]
Dataset = Annotated[str | None, typer.Argument(help="bars_1min, trades, …; all if not said.")]
Key = Annotated[str | None, typer.Option(help="The name of a key of your own; else one is made.")]
Known = Annotated[str, typer.Argument(help="bars_1min, trades, …")]


def settings() -> Settings:
    """Return the settings of the workspace around here."""
    from ibkit.settings import load_settings

    return load_settings()


def open_profile(profile: str, role: Role | None = None) -> Store:
    """Return the store of a profile."""
    from ibkit.store import open_store

    found = settings()
    found.profile(profile)
    return open_store(found, profile, role=role)


def print_table(table: pd.DataFrame, otherwise: str) -> None:
    """Print a frame as a table as wide as it needs; say `otherwise` if it has no rows."""
    if not len(table):
        print(otherwise)
        return
    columns = [_cells(table[name], str(name)) for name in table]
    for row in zip(*columns, strict=True):
        print("  ".join(row).rstrip())


def _cells(column: pd.Series[Any], name: str) -> list[str]:
    """Return a column's head and cells, all of one width."""
    cells = [name, *(_text(value, name) for value in column)]
    width = max(map(len, cells))
    number = column.dtype.kind in "iuf"
    return [cell.rjust(width) if number else cell.ljust(width) for cell in cells]


def _text(value: Any, name: str) -> str:
    """Return a value as people read it: times to the second in UTC, numbers in thousands."""
    import pandas as pd

    if value is None or value is pd.NaT or value != value:  # noqa: PLR0124 - NaN
        return ""
    if isinstance(value, pd.Timestamp):
        return f"{value.tz_convert('UTC') if value.tz else value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, bool) or name.endswith("id") or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def nothing(opened: Store) -> str:
    """Return what to say of a store that has no rows."""
    return f"nothing is stored in {opened.root} yet; ibkit backfill fetches bars"


@app.command("ls")
def ls(dataset: Dataset = None, profile: Profile = "sim") -> None:
    """List datasets and their instruments."""
    opened = open_profile(profile, "reader")
    names = opened.datasets() if dataset is None else [dataset]
    found = [(name, instrument) for name in names for instrument in opened.instruments(name)]
    for name, instrument in found:
        print(f"{name}  {instrument}")
    if not found:
        print(nothing(opened))


@app.command("coverage")
def coverage(dataset: Dataset = None, profile: Profile = "sim") -> None:
    """Show one line a series: first, last, rows, size."""
    opened = open_profile(profile, "reader")
    print_table(opened.coverage(dataset).drop(columns="spans"), nothing(opened))


@app.command("history")
def history(
    dataset: Known,
    instrument: Annotated[str, typer.Argument(help="AAPL, FUT:ES, a name that ls lists.")],
    profile: Profile = "sim",
    last: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 20,
    *,
    full: Annotated[bool, typer.Option("--full", help="Checksums and versions too.")] = False,
) -> None:
    """Show who wrote what and when: one line a commit, the newest last."""
    table = open_profile(profile, "reader").history(dataset, instrument)
    columns = [name for name in table if full or name in HISTORY]
    print_table(table[columns].tail(last or len(table)), f"{dataset} {instrument} has no commits")


@app.command("audit-log")
def audit_log(
    profile: Profile = "sim",
    last: Annotated[int, typer.Option(help="The newest so many; 0: all.", min=0)] = 50,
) -> None:
    """Show who read or wrote what, where audit= is set in [store] of ibkit.toml."""
    import pandas as pd

    table = open_profile(profile, "reader").audit_log()
    if len(table):
        table["at"] = pd.to_datetime(table["at"], utc=True, format="ISO8601")
    columns = [name for name in AUDIT if name in table]
    text = 'nothing was told; [store] with audit = "writes" or "all" in ibkit.toml tells it'
    print_table(table[columns].tail(last or len(table)), text)


@app.command("verify")
def verify(
    dataset: Dataset = None,
    profile: Profile = "sim",
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
) -> None:
    """Read every file back; exit code 1 if anything is wrong, or is left wrong by --repair."""
    opened = open_profile(profile, None if repair else "reader")
    problems = opened.verify(dataset, repair=repair)
    print_table(problems, "every file reads back as it was written")
    if len(problems) and not (repair and problems["repair"].astype(bool).all()):
        raise typer.Exit(1)


@app.command("compact")
def compact(
    dataset: Dataset = None,
    profile: Profile = "sim",
    every: Annotated[float, typer.Option(help="Seconds; 0: once.", min=0)] = 0,
) -> None:
    """Bring what live streams appended into the Parquet files; --every: until Ctrl-C."""
    opened = open_profile(profile)
    print_table(opened.compact(dataset), "nothing to compact")
    if not every:
        return
    try:
        with opened.compactor(dataset, every_s=every) as work:
            work.wait()
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted. What was compacted stays so.\n")
        raise typer.Exit(INTERRUPTED) from None


@app.command("check")
def check(profile: Profile = "sim") -> None:
    """Hold stored rows against [quality.<dataset>] of ibkit.toml; exit code 1 on a breach."""
    limits = settings().limits()
    if not limits:
        print("no limits are set; [quality.bars_1min] with gap_share = 0.01 in ibkit.toml sets one")
        return
    found = open_profile(profile, "reader").check(limits)
    for breach in found:
        print(breach)
    if found:
        raise typer.Exit(1)
    print("every series is within its limits")


@app.command("quality")
def quality(dataset: Dataset = None, profile: Profile = "sim") -> None:
    """Show gaps, stale tails, outliers and contradictions, one line a series."""
    opened = open_profile(profile, "reader")
    print_table(opened.quality(dataset).drop(columns=["first"]), nothing(opened))


@app.command("prune")
def prune(
    profile: Profile = "sim",
    days: Annotated[float, typer.Option(help="Keep what was replaced since.", min=0)] = 30,
    keep: Annotated[int, typer.Option(help="Old files to keep of each period.", min=0)] = 3,
) -> None:
    """Remove old versions of files; the rows of now are not touched."""
    gone = open_profile(profile).prune(older_than=timedelta(days=days), keep=keep)
    print(f"{len(gone)} old files removed, {gone['bytes'].sum() / 1e6:.1f} MB")


@app.command("export")
def export(
    dataset: Known,
    target: Annotated[Path, typer.Argument(help="x.csv, x.csv.gz, x.parquet, x.arrow; a folder.")],
    instrument: Annotated[
        list[str] | None, typer.Option("-i", "--instrument", help="AAPL; any number of times.")
    ] = None,
    start: Annotated[str | None, typer.Option(help="First instant, ISO 8601; UTC.")] = None,
    end: Annotated[str | None, typer.Option(help="First instant after, ISO 8601; UTC.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("-c", "--column", help="ts, close, …; all if not said.")
    ] = None,
    each: Annotated[
        Literal["csv", "csv.gz", "parquet", "arrow"] | None,
        typer.Option(help="One file an instrument, of this format, in the folder TARGET."),
    ] = None,
    profile: Profile = "sim",
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write rows to files for others."""
    opened = open_profile(profile, "reader")
    options: dict[str, Any] = {"fmt": each, "each": each is not None, "overwrite": overwrite}
    with usage():
        done = opened.export(
            dataset,
            target,
            instrument,
            instant(start, "--start"),
            instant(end, "--end"),
            columns=column,
            **options,
        )
    print_table(done, "nothing was written")


@app.command("import")
def import_(  # noqa: PLR0913, PLR0917 - as above
    instrument: Annotated[str, typer.Argument(help="Shorthand: AAPL, IND:SPX@CBOE.")],
    file: Annotated[
        Path, typer.Argument(help="CSV, Parquet or Arrow.", exists=True, dir_okay=False)
    ],
    source: Annotated[str, typer.Option(help="Where the data come from; kept with the rows.")],
    zone: Annotated[str | None, typer.Option(help="Of times without one: UTC.")] = None,
    bar_size: Annotated[str, typer.Option(help="IB's words.")] = "1 day",
    column: Annotated[
        list[str] | None, typer.Option("-c", "--column", help="theirs=ours: Date=ts, Close=close.")
    ] = None,
    label: Annotated[
        Literal["start", "end"], typer.Option(help="What their time of a bar means.")
    ] = "start",
    volume_unit: Annotated[float, typer.Option(help="Ours in one of theirs; 100 for lots.")] = 1.0,
    what_to_show: Annotated[str, typer.Option(help="TRADES, MIDPOINT, BID, ASK, …")] = "TRADES",
    profile: Profile = "paper",
    *,
    outside_rth: Annotated[
        bool, typer.Option("--outside-rth", help="They are of all hours, not regular ones alone.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad rows aside instead of refusing all.")
    ] = False,
) -> None:
    """Import bars from a file."""
    columns = column_map(column)
    opened = open_profile(profile)
    with usage(), interruptible():
        commit = opened.import_bars(
            instrument,
            bar_size,
            file,
            columns=columns,
            zone=zone,
            label=label,
            volume_unit=volume_unit,
            source=source,
            on_error="quarantine" if quarantine else "raise",
            progress=True,
            what_to_show=what_to_show,
            use_rth=not outside_rth,
        )
    aside = f", {commit.rows_set_aside:,} set aside" if commit.rows_set_aside else ""
    print(
        f"{commit.dataset} {commit.instrument}: {commit.rows_in:,} rows read, "
        f"{commit.rows_added:,} new, {commit.rows_changed:,} changed{aside}; in {opened.root}"
    )


@app.command("import-rows")
def import_rows(
    dataset: Known,
    file: Annotated[
        Path, typer.Argument(help="CSV, Parquet or Arrow.", exists=True, dir_okay=False)
    ],
    instrument: Annotated[
        str | None, typer.Option("-i", "--instrument", help="AAPL; else a column says it.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where the data come from.")] = None,
    zone: Annotated[str | None, typer.Option(help="Of times without one: UTC.")] = None,
    column: Annotated[
        list[str] | None, typer.Option("-c", "--column", help="theirs=ours: Symbol=instrument.")
    ] = None,
    profile: Profile = "paper",
    *,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad rows aside instead of refusing all.")
    ] = False,
) -> None:
    """Import rows of any dataset and many instruments, such as a file that export wrote."""
    columns = column_map(column)
    opened = open_profile(profile)
    with usage(), interruptible():
        done = opened.import_rows(
            dataset,
            file,
            instrument,
            columns=columns,
            zone=zone,
            source=source,
            on_error="quarantine" if quarantine else "raise",
            progress=True,
        )
    print_table(done, "")


def column_map(texts: list[str] | None) -> dict[str, str] | None:
    """Return ``theirs=ours`` as a map; None if nothing is named."""
    named = [text.partition("=") for text in texts or []]
    if not all(theirs and ours for theirs, _, ours in named):
        raise typer.BadParameter("a column is named as theirs=ours", param_hint="--column")
    return {theirs: ours for theirs, _, ours in named} or None


@app.command("encrypt")
def encrypt(dataset: Known, profile: Named, key: Key = None) -> None:
    """Encrypt a dataset at rest; its key goes to the folder of secrets or the keyring."""
    opened = open_profile(profile)
    with usage(), interruptible():
        _say_key(opened.encrypt(dataset, key=key, progress=True), dataset, opened.root)


@app.command("rotate-key")
def rotate_key(dataset: Known, profile: Named, key: Key = None) -> None:
    """Encrypt a dataset with a new key; the old one may be thrown away then."""
    opened = open_profile(profile)
    with usage(), interruptible():
        _say_key(opened.rotate_key(dataset, key=key, progress=True), dataset, opened.root)


def _say_key(done: pd.DataFrame, dataset: str, root: object) -> None:
    print_table(done, f"{dataset} holds nothing yet in {root}; what comes is encrypted")
    print("Keep a copy of the key elsewhere: without it the rows are lost.")


@app.command("share")
def share(
    whom: Annotated[Literal["private", "readers", "writers"], typer.Argument()],
    profile: Named,
    group: Annotated[str | None, typer.Option(help="Of this machine's accounts.")] = None,
) -> None:
    """Say by file modes who else on this machine may use the store."""
    opened = open_profile(profile)
    opened.share(whom, group=group)
    print(f"{opened.root} is {'private' if whom == 'private' else f'shared with {whom}'} now")


@contextmanager
def usage() -> Iterator[None]:
    """Say an option that makes no sense as one, without a traceback."""
    try:
        yield
    except IbkitError:
        raise
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@contextmanager
def interruptible() -> Iterator[None]:
    """End with code 130, and say how to go on, when Ctrl-C is pressed."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nInterrupted. {AGAIN}\n")
        raise typer.Exit(INTERRUPTED) from None


def instant(text: str | None, hint: str) -> datetime | None:
    """Return an ISO text as an instant; without a zone it is in UTC."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no ISO date or time", param_hint=hint) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
