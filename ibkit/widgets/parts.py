"""What every widget needs: a hand of its own, a way past a busy cell, a form for reports.

No widget is defined here. A widget's hand is a thread, because a click must not keep the
kernel's message loop waiting for IB, and because ticks must not wait for a browser.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary, WeakValueDictionary

from ibkit import clock
from ibkit.errors import IbkitError
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Hashable

    import ipywidgets

Errand = Callable[[], object]
Fail = Callable[[Exception], object]
log = get_logger(__name__)

# a screen that changes more often than this is only harder to read
DRAWS_PER_SECOND: Final = 5

# kind of the profile -> the word a person must see, and what it means for their money
KINDS: Final = {
    "sim": ("SIMULATED", "an invented market: no order leaves this machine"),
    "paper": ("PAPER", "IB's paper account: real prices, no real money"),
    "live": ("LIVE", "real money: what you send here is an order at IB"),
}

STYLE: Final = """<style>
.ibkit-widget {
  --line: var(--jp-border-color2, color-mix(in srgb, currentColor 25%, transparent));
  --soft: var(--jp-ui-font-color2, color-mix(in srgb, currentColor 70%, transparent));
  --good: #0e8f7b; --bad: #d9482b; font-variant-numeric: tabular-nums; max-width: 44em;
  border: 1px solid var(--line); border-left: 5px solid var(--edge, var(--line));
  border-radius: 6px; padding: 10px 14px; overflow: hidden; }
.ibkit-sim { --edge: #b7791f } .ibkit-paper { --edge: #2f6fb3 } .ibkit-live { --edge: #d9482b }
.ibkit-widget .widget-html-content, .ibkit-static { line-height: 1.45; font-size: 13px;
  color: var(--jp-ui-font-color1, inherit); }
.ibkit-static { font-family: system-ui, sans-serif; }
.ibkit-widget p { margin: 0 } .ibkit-widget small { color: var(--soft) }
.ibkit-widget dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px;
  margin: 6px 0 0 }
.ibkit-widget dl dt { color: var(--soft); float: none; font-weight: 400; white-space: nowrap;
  width: auto }
.ibkit-widget dl dd { margin: 0 }
.ibkit-row { gap: 2px 10px } .ibkit-side { display: flex; gap: 8px }
.ibkit-side > .widget-label { flex: none; margin: 0; text-align: right }
.ibkit-prices { display: flex; flex-wrap: wrap; gap: 4px 28px; align-items: end; margin: 6px 0 }
.ibkit-prices div { white-space: nowrap } .ibkit-prices strong { font-size: 19px }
.ibkit-good, .ibkit-bad { color: var(--good); font-weight: 600 } .ibkit-bad { color: var(--bad) }
.ibkit-widget p.ibkit-problem { border-left: 3px solid var(--bad); padding-left: 10px }
</style>"""


# --- a widget's own thread --------------------------------------------------------------------


class Pace:
    """When to draw next: soon after a change, and never more often than `period_s`.

    Parameters
    ----------
    period_s : float
        The least time between two drawings.
    every_s : float, optional
        Draw at least this often, change or none.
    """

    def __init__(self, period_s: float, every_s: float | None = None) -> None:
        self._period_s, self._every_s = period_s, every_s
        self._drawn = float("-inf")
        self._due: float | None = None if every_s is None else float("-inf")

    def changed(self) -> None:
        """Note that there is something new to draw."""
        soon = self._drawn + self._period_s
        self._due = soon if self._due is None else min(self._due, soon)

    def drew(self, now: float) -> None:
        """Note that all there was has been drawn."""
        self._drawn = now
        self._due = None if self._every_s is None else now + self._every_s

    def wait_s(self, now: float) -> float | None:
        """Return the seconds until the next drawing; None if nothing is due."""
        return None if self._due is None else max(0.0, self._due - now)


class Hand:
    """A daemon thread that runs a widget's errands in order and draws at a pace.

    Parameters
    ----------
    draw : callable
        Brings the screen up to date; many `changed` become one call.
    fail : callable
        Gets the exception of a drawing, or of an errand that came without a `fail` of its own; it
        must reach the person.
    every_s : float, optional
        Draw at least this often.
    """

    def __init__(
        self,
        draw: Errand,
        fail: Fail,
        *,
        every_s: float | None = None,
    ) -> None:
        self._draw, self._fail = draw, fail
        self._pace = Pace(1 / DRAWS_PER_SECOND, every_s)
        self._errands: SimpleQueue[tuple[Errand, Fail] | None] = SimpleQueue()
        self._poked = threading.Event()
        self._thread = threading.Thread(target=self._main, name="ibkit-widget", daemon=True)
        self._thread.start()

    def do(self, errand: Errand, fail: Fail | None = None) -> None:
        """Run `errand` after those given before; return at once."""
        self._errands.put((errand, fail or self._fail))

    def changed(self) -> None:
        """Draw soon; cheap enough for every tick, from any thread."""
        if not self._poked.is_set():
            self._poked.set()
            self.do(self._note_change)

    def close(self, timeout_s: float = 1.0) -> bool:
        """End the thread after the errands it has; return whether it ended in time."""
        self._errands.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _note_change(self) -> None:
        self._poked.clear()
        self._pace.changed()

    def _main(self) -> None:
        while (given := self._next()) is not None:
            errand, fail = given
            try:
                errand()
            except Exception as error:
                if not isinstance(error, IbkitError):  # the person sees both; a bug leaves a trace
                    log.warning("a widget's errand failed", exc_info=error)
                fail(error)

    def _next(self) -> tuple[Errand, Fail] | None:
        try:
            return self._errands.get(timeout=self._pace.wait_s(clock.monotonic()))
        except Empty:
            return self._draw_now, self._fail

    def _draw_now(self) -> None:
        self._pace.drew(clock.monotonic())
        self._draw()


# --- clicks while a cell is busy ----------------------------------------------------------------


def reach(*controls: ipywidgets.Widget) -> None:
    """Let the messages of `controls` through while a cell runs.

    ipykernel 7.4.0 sends them to the shell that made the widget, which is busy; other versions
    follow the message's own subshell, and so do we. All inputs of one widget go one way, or a
    click could overtake the number that was typed before it.
    """
    for control in controls:
        with suppress(AttributeError):  # no kernel, or a comm that is not ipykernel's
            if hasattr(control.comm, "_reply_subshell_for"):
                control.comm._reply_subshell_for = lambda _data, default: default  # noqa: SLF001 - no public way


# --- one widget of a kind for each thing ----------------------------------------------------------


class Closeable(Protocol):
    """Something that can be closed twice."""

    def close(self) -> None:
        """Release what it holds."""


class Places:
    """Who is open for what: the new one closes the old one, so a cell run again leaks nothing."""

    def __init__(self) -> None:
        self._open: WeakKeyDictionary[Any, WeakValueDictionary[Hashable, Closeable]]
        self._open = WeakKeyDictionary()
        self._lock = threading.Lock()

    def take(self, owner: object, place: Hashable, widget: Closeable) -> None:
        """Put `widget` in `place` and close whoever was there."""
        with self._lock:
            places = self._open.setdefault(owner, WeakValueDictionary())
            before, places[place] = places.get(place), widget
        if before is not None:
            before.close()

    def leave(self, owner: object, place: Hashable, widget: Closeable) -> None:
        """Free `place` if `widget` still has it."""
        with self._lock:
            places = self._open.get(owner)
            if places is not None and places.get(place) is widget:
                del places[place]


PLACES: Final = Places()


# --- in a notebook and in a report ------------------------------------------------------------


def bundle(box: ipywidgets.Widget, html: str, text: str) -> dict[str, Any]:
    """Return what a notebook shows of a widget: live controls, or what it said for a report."""
    live: dict[str, Any] = box._repr_mimebundle_() or {}
    return live | {"text/html": f"{STYLE}{html}", "text/plain": text}
