"""The commands `ibkit sim serve`, `faults`, `record` and `play`.

Like those of `ibkit.cli`, each reads its arguments, calls one service, and says what came of it.
Not here: what the gateway does (`ibkit.sim`).
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ibkit.errors import SimulationError

if TYPE_CHECKING:
    from ibkit.sim.control import ControlAddress

TOKEN: Final = "IBKIT_SIM_TOKEN"  # noqa: S105  the name of a variable
PORT: Final = "0: the system chooses."


def add_to(sim: typer.Typer) -> None:
    """Add the commands to `ibkit sim`."""
    sim.command("serve")(serve)
    sim.command("faults")(faults)
    sim.command("record")(record)
    sim.command("play")(play)


def _folder() -> Path:
    """Return where gateways of this workspace leave their control ports."""
    from ibkit.settings import load_settings

    return load_settings().root("sim") / "gateway"


def serve(
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help=PORT)] = 4002,
    seed: Annotated[int, typer.Option(help="Of the synthetic market and every chance.")] = 1,
    replay: Annotated[
        Path | None, typer.Option(help="A store, or a folder of CSV and Parquet, to serve instead.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="First instant: 2026-11-20T09:30-05:00, or: recording.")
    ] = "",
    speed: Annotated[float, typer.Option(help="Seconds of the clock in a real one.")] = 1.0,
    manual: Annotated[  # noqa: FBT002  a flag of the command line
        bool, typer.Option("--manual", help="The clock stands until `faults advance` moves it.")
    ] = False,
    calendar: Annotated[  # noqa: FBT002  as above
        bool, typer.Option("--calendar", help="Trade in trading hours only.")
    ] = False,
    faults: Annotated[Path | None, typer.Option(help="A schedule of faults, TOML.")] = None,
) -> None:
    """Serve the TWS API here, for any client, until Ctrl-C."""
    from ibkit.sim.serve import Options
    from ibkit.sim.serve import serve as run

    options = Options(
        host=host,
        port=port,
        seed=seed,
        replay=replay,
        idle_exit_s=0,
        always_open=not calendar,
        start=start,
        speed=speed,
        manual=manual,
        faults=faults,
        control=_folder(),
    )
    raise typer.Exit(run(options))


def faults(
    what: Annotated[
        str, typer.Argument(help="list, kinds, clear, end, plan, advance, status; or a kind.")
    ] = "list",
    arguments: Annotated[
        list[str] | None, typer.Argument(help="name=value …; a number; a file; seconds.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The gateway's own port.")] = None,
    control: Annotated[str, typer.Option(help="HOST:PORT of a control port elsewhere.")] = "",
    token: Annotated[str, typer.Option(envvar=TOKEN, help="With --control.")] = "",
) -> None:
    """Tell a running gateway what to do wrong, or move its clock.

    Examples: ibkit sim faults drop client=1 · ibkit sim faults slow request=historical seconds=3
    for_s=60 · ibkit sim faults end 2 · ibkit sim faults advance 3600 step=1.
    """
    from ibkit.sim.control import ask

    method, path, body = _call(what, arguments or [])
    address = _address(control, token) if control else _known(port)
    typer.echo(_said(what, ask(address, method, path, body)))


def _known(port: int | None) -> ControlAddress:
    from ibkit.sim.control import find_address

    return find_address(_folder(), port)


def _address(text: str, token: str) -> ControlAddress:
    from ibkit.sim.control import ControlAddress, check_loopback

    host, number = _split(text)
    check_loopback(host)
    return ControlAddress(host, number, token or os.environ.get(TOKEN, ""))


def _split(text: str) -> tuple[str, int]:
    host, _, number = text.rpartition(":")
    if not host or not number.isdecimal() or not 0 < int(number) < 65_536:
        raise SimulationError(f"{text!r} is no address; write 127.0.0.1:4002")
    return host, int(number)


def _call(what: str, words: list[str]) -> tuple[str, str, Any]:
    """Return method, path and body of what is to be asked."""
    plain = {"list": ("GET", "/faults"), "kinds": ("GET", "/kinds"), "status": ("GET", "/")}
    if what in plain:
        return (*plain[what], None)
    if what == "clear":
        return "DELETE", "/faults", None
    if not words and what in {"end", "plan", "advance"}:
        raise SimulationError(f"{what} what? A number, a file, or seconds must follow.")
    if what == "end":
        return "DELETE", f"/faults/{words[0]}", None
    if what == "plan":
        return "POST", "/plan", _text(Path(words[0]))
    named = dict(_pair(word) for word in words if "=" in word)
    if what == "advance":
        steps = {name: _number(value) for name, value in named.items()}
        return "POST", "/clock", {"advance": _number(words[0]), **steps}
    if len(named) < len(words):
        raise SimulationError("parameters are written name=value")
    counted = ("client", "times", "share", "for_s")
    numbers = {name: _number(named[name]) for name in counted if name in named}
    return "POST", "/faults", {"kind": what, **named, **numbers}


def _pair(word: str) -> tuple[str, str]:
    name, _, value = word.partition("=")
    return name, value


def _number(text: str) -> float:
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        raise SimulationError(f"{text!r} is no number") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SimulationError(f"{path} cannot be read: {error.strerror}") from error


def _said(what: str, answer: Any) -> str:
    """Return an answer for people: a line a fault, or the table of kinds."""
    if what == "kinds":
        lines = (
            f"{row['kind']:<18} {' '.join(f'{k}={v!r}' for k, v in row['parameters'].items())}\n"
            f"{'':<18} {row['a_real_gateway']}"
            for row in answer
        )
        return "\n".join(lines)
    if isinstance(answer, list):
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in answer) or "No faults."
    return json.dumps(answer, ensure_ascii=False)


def record(
    out: Annotated[Path, typer.Argument(help="The transcript to write, JSON lines.")],
    gateway: Annotated[str, typer.Option(help="HOST:PORT of TWS, IB Gateway or this one.")],
    port: Annotated[int, typer.Option(help=f"Where clients connect instead. {PORT}")] = 4102,
) -> None:
    """Stand between a client and a gateway, and write down what they say, until Ctrl-C."""
    from ibkit.sim.record import Recorder

    host, number = _split(gateway)
    recorder = Recorder(host, number, out)
    _run(recorder, port, f"records what clients say to {gateway} into {out}")


def play(
    transcript: Annotated[Path, typer.Argument(help="What `ibkit sim record` wrote.")],
    connection: Annotated[int, typer.Option(help="Which of its connections.")] = 1,
    port: Annotated[int, typer.Option(help=PORT)] = 4002,
) -> None:
    """Play the gateway's part of a transcript to a client that asks the same again."""
    from ibkit.sim.playback import Playback

    _run(Playback(transcript, connection), port, f"PLAYS BACK {transcript}")


def _run(server: Any, port: int, words: str) -> None:
    """Serve until Ctrl-C."""

    async def run() -> None:
        try:
            listening = await server.start("127.0.0.1", port)
            typer.echo(f"127.0.0.1:{listening} {words}", err=True)
            await asyncio.Event().wait()
        finally:
            await server.stop()

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        typer.echo("Stopped.", err=True)
