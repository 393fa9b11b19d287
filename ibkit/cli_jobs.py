"""`ibkit backfill` and `ibkit jobs`: fetch what is missing, and look after the queue of that work.

Not here: any work of its own; see `ibkit.jobs`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ibkit.errors import StoreAccessError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from ibkit.jobs.queue import Queue

app = typer.Typer(help="The queue of work: what waits, what failed, and doing it.")

INTERRUPTED: Final = 130
KEPT: Final = "Everything fetched until now is in the store; the same command goes on from there."
USUAL_DAYS: Final = 20

Profile = Annotated[str, typer.Option("--profile", help="sim, paper, live, or your own.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Numbers from the list; else all.")]


def backfill(  # noqa: PLR0913 - typer makes an option of each
    symbols: Annotated[
        list[str], typer.Argument(help="AAPL FUT:ES CASH:EURUSD …, or @file with one a line.")
    ],
    bar_size: Annotated[str, typer.Option(help="IB's words.")] = "1 min",
    days: Annotated[int | None, typer.Option(help="Finished sessions, back from --end.")] = None,
    start: Annotated[str | None, typer.Option(help="First session, ISO date.")] = None,
    end: Annotated[str | None, typer.Option(help="Last session, ISO date.")] = None,
    what: Annotated[str | None, typer.Option(help="TRADES, MIDPOINT, BID, ASK …")] = None,
    priority: Annotated[int, typer.Option(help="Higher goes first.")] = 0,
    profile: Profile = "sim",
    *,
    all_hours: Annotated[bool, typer.Option(help="Not only regular hours.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Show the plan, ask for no bars.")] = False,
) -> None:
    """Fetch bars that are missing in the store; end it at any moment, and run it again."""
    import ibkit

    wanted = read_symbols(symbols)
    with interruptible(KEPT), ibkit.connect(profile, client_id="auto") as kit:
        found = kit.backfill(
            wanted,
            bar_size,
            start=start,
            end=end,
            days=days if days or start else USUAL_DAYS,
            what_to_show=what,  # type: ignore[arg-type] # History says which words are right
            use_rth=not all_hours,
            priority=priority,
            dry_run=dry_run,
        )
    print(plan_text(found) if dry_run else found)  # type: ignore[arg-type] # the plan's frame


@app.command("list")
def list_(
    profile: Profile = "sim",
    *,
    failed: Annotated[bool, typer.Option(help="Only what failed for good.")] = False,
) -> None:
    """List the jobs that are not done, and why they are not."""
    with _queue(profile) as queue:
        frame = queue.dead() if failed else queue.frame()
    frame = frame[frame["state"] != "done"]
    if frame.empty:
        print("No job waits." if not failed else "Nothing failed.")
        return
    counts = ", ".join(f"{n} {state}" for state, n in frame["state"].value_counts().items())
    shown = frame.assign(
        reason=frame["reason"].str.partition("\n")[0],
        due=frame["due"].dt.strftime("%F %T"),
        changed=frame["changed"].dt.strftime("%F %T"),
    )
    print(shown.drop(columns=["due"]).to_string())
    print(counts)


@app.command()
def retry(numbers: Numbers = None, profile: Profile = "sim") -> None:
    """Give failed jobs a new life: all, or those named."""
    with _queue(profile) as queue:
        print(f"{queue.retry(numbers)} jobs wait again; `ibkit jobs work` does them.")


@app.command()
def drop(numbers: Numbers = None, profile: Profile = "sim") -> None:
    """Remove jobs that nobody works on: all, or those named. What is stored stays."""
    with _queue(profile) as queue:
        print(f"{queue.drop(numbers)} jobs removed.")


@app.command()
def work(profile: Profile = "sim") -> None:
    """Do what waits in the queue, whoever put it there; end when nothing is left."""
    import ibkit
    from ibkit.jobs.backfill import work_off

    with interruptible(KEPT), ibkit.connect(profile, client_id="auto") as kit:
        done, failed = kit._loop.run(  # noqa: SLF001 - a service's coroutine, on the kit's loop
            work_off, kit.history, kit.data, kit.store, kit.root / "jobs" / "queue.sqlite"
        )
    print(f"{done} jobs done, {failed} failed" + (": ibkit jobs list --failed" if failed else ""))


def read_symbols(texts: Sequence[str]) -> list[str]:
    """Return the symbols, those of ``@file`` included: one a line, ``#`` begins a comment.

    Raises
    ------
    StoreAccessError
        The file cannot be read.
    typer.BadParameter
        There is no symbol at all.
    """
    found: list[str] = []
    for text in texts:
        if not text.startswith("@"):
            found.append(text)
            continue
        path = Path(text[1:])
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise StoreAccessError(path, getattr(error, "strerror", None) or "no text") from error
        words = (line.partition("#")[0].strip() for line in lines)
        found += [word for word in words if word]
    if not found:
        raise typer.BadParameter("no symbol was given: the files name none")
    return found


def plan_text(plan: pd.DataFrame) -> str:
    """Return a plan as text, with its price."""
    from ibkit.jobs.backfill import price_lines

    refused = plan[(plan["requests"] == 0) & (plan["reason"] != "")]
    lines = price_lines(plan) or ["Nothing is missing."]
    lines += [f"{row.instrument}: {row.reason}" for row in refused.itertuples()]
    return "\n".join(lines)


@contextlib.contextmanager
def interruptible(words: str) -> Iterator[None]:
    """End with code 130, and with `words`, when Ctrl-C is pressed."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nInterrupted. {words}\n")
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def _queue(profile: str) -> Iterator[Queue]:
    from ibkit.jobs.queue import Queue
    from ibkit.settings import load_settings

    with Queue(load_settings().root(profile) / "jobs" / "queue.sqlite", name="ibkit jobs") as one:
        yield one
