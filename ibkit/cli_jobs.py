"""`ibkit backfill` and `ibkit jobs`: fetch what is missing, and look after the queue of that work.

Not here: any work of its own; see `ibkit.jobs`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, get_args

import typer

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
    days: Annotated[
        int | None, typer.Option(min=1, help="Finished sessions, back from --end.")
    ] = None,
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
    check_bars(bar_size, start, end, days, what)
    with interruptible(KEPT), ibkit.connect(profile, client_id="auto") as kit:
        found = kit.backfill(
            wanted,
            bar_size,
            start=start,
            end=end,
            days=USUAL_DAYS if days is None and start is None else days,
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
    most: Annotated[int, typer.Option(min=1, help="Show so many.")] = 50,
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
    print(shown.drop(columns=["due"]).head(most).to_string())
    print(counts + (f"; the first {most} are shown" if len(shown) > most else ""))


@app.command()
def retry(numbers: Numbers = None, profile: Profile = "sim") -> None:
    """Give failed jobs a new life: all, or those named."""
    with _queue(profile) as queue:
        count = queue.retry(numbers)
    if numbers and count < len(set(numbers)):
        print("Some of these numbers are of no failed job: `ibkit jobs list --failed` has them.")
    print(
        f"{_count(count, 'job')} to do again; `ibkit jobs work` does that."
        if count
        else "Nothing to do again."
    )


@app.command()
def drop(numbers: Numbers = None, profile: Profile = "sim") -> None:
    """Remove jobs that nobody works on: all, or those named. What is stored stays."""
    with _queue(profile) as queue:
        count = queue.drop(numbers)
    if numbers and count < len(set(numbers)):
        print("Some of these numbers are of no job, or of one at work: see `ibkit jobs list`.")
    print(f"{_count(count, 'job')} removed.")


@app.command()
def work(profile: Profile = "sim") -> None:
    """Do what waits in the queue, whoever put it there; end when nothing is left."""
    import ibkit
    from ibkit.jobs.backfill import work_off

    with interruptible(KEPT), ibkit.connect(profile, client_id="auto") as kit:
        done, failed = kit._loop.run(  # noqa: SLF001 - a service's coroutine, on the kit's loop
            work_off, kit.history, kit.data, kit.store, kit.root / "jobs" / "queue.sqlite"
        )
    print(
        f"{_count(done, 'job')} done, {failed} failed"
        + (": ibkit jobs list --failed" if failed else "")
    )


def read_symbols(texts: Sequence[str]) -> list[str]:
    """Return the symbols, those of ``@file`` included: one a line, ``#`` begins a comment.

    Raises
    ------
    typer.BadParameter
        A file cannot be read, or there is no symbol at all.
    """
    found: list[str] = []
    for text in filter(None, map(str.strip, texts)):
        if not text.startswith("@"):
            found.append(text)
            continue
        path = Path(text[1:])
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise typer.BadParameter(f"{path} cannot be read: {reason}") from error
        words = (line.partition("#")[0].strip() for line in lines)
        found += [word for word in words if word]
    if not found:
        raise typer.BadParameter("no symbol was given: the files name none")
    return found


def check_bars(
    bar_size: str, start: str | None, end: str | None, days: int | None, what: str | None
) -> None:
    """Refuse what cannot be right for any instrument, before anybody is called.

    Raises
    ------
    typer.BadParameter, InvalidBarSizeError
        Which word is wrong, and what is right.
    """
    from ibkit import schema
    from ibkit.history.spans import check_order, read_when

    schema.bar_size(bar_size)
    known = get_args(schema.WhatToShow)
    if what is not None and what not in known:
        raise typer.BadParameter(f"--what {what}: IB has {', '.join(known)}")
    if start is not None and days is not None:
        raise typer.BadParameter("--start and --days say the same thing twice; give one of them")
    try:
        check_order(read_when(start, "--start "), read_when(end, "--end "))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def plan_text(plan: pd.DataFrame) -> str:
    """Return a plan as text, with its price."""
    from ibkit.jobs.backfill import price_lines

    refused = plan[(plan["requests"] == 0) & (plan["reason"] != "")]
    lines = price_lines(plan)
    if not lines and len(refused) < len(plan):
        lines = ["Nothing is missing." if refused.empty else "Nothing is missing of the others."]
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

    settings = load_settings()
    settings.profile(profile)  # one that there is not gets no folder
    with Queue(settings.root(profile) / "jobs" / "queue.sqlite", name="ibkit jobs") as one:
        yield one


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
