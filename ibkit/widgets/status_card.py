"""A status card that stays true: state, profile, address, farms, pacing, clock.

What it says is `rows`, a pure function of what the connection knows of itself (`kit.status()`).
"""

from __future__ import annotations

import threading
from html import escape
from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ipw

from ibkit import clock
from ibkit.display import GREY, PROFILE_COLOURS, STATE_COLOURS, badge
from ibkit.kit import card_rows
from ibkit.log import redact
from ibkit.widgets.parts import KINDS, PLACES, STYLE, Hand, bundle

if TYPE_CHECKING:
    from datetime import datetime

    from ibkit.connection.events import StateChanged
    from ibkit.connection.health import Status
    from ibkit.kit import Kit

EVERY_S: Final = 1.0


class StatusCard:
    """The connection at a glance, brought up to date once a second and at every change of state.

    Parameters
    ----------
    kit : Kit
        The connection to show.

    Examples
    --------
    >>> StatusCard(kit)
    <StatusCard SIMULATED 127.0.0.1:... client 31 ready>
    """

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._lock = threading.Lock()
        self._open = True
        self._html = ipw.HTML()
        self.box = ipw.VBox([ipw.HTML(STYLE, layout=ipw.Layout(display="none")), self._html])
        for name in ("ibkit-widget", "ibkit-status", f"ibkit-{kit.profile.kind}"):
            self.box.add_class(name)
        self._draw()
        self._hand = Hand(self._draw, self._fail, every_s=EVERY_S)
        kit.events.state.connect(self._on_state)
        PLACES.take(kit, "status card", self)

    def __repr__(self) -> str:
        status = self._kit.status()
        return f"<StatusCard {KINDS[status.kind][0]} {address(status)} {status.state}>"

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        kind = self._kit.profile.kind
        html = f'<div class="ibkit-widget ibkit-static ibkit-{kind}">{self._html.value}</div>'
        return bundle(self.box, html, repr(self))

    def close(self) -> None:
        """Stop following the connection; what was last said stays in view."""
        with self._lock:
            was_open, self._open = self._open, False
        if was_open:
            PLACES.leave(self._kit, "status card", self)
            self._kit.events.state.disconnect(self._on_state)
            self._hand.close()

    def _on_state(self, event: StateChanged) -> None:
        self._hand.changed()
        if event.after == "closed":
            self._hand.do(self._draw)
            self._hand.do(self.close)

    def _draw(self) -> None:
        self._html.value = card(self._kit.status(), clock.now())

    def _fail(self, error: Exception) -> None:
        words = escape(redact(str(error)))
        self._html.value = f'<p role="alert" class="ibkit-bad">{words}</p>'


def address(status: Status) -> str:
    """Return where the connection leads, and as whom."""
    return f"{status.host}:{status.port} client {status.client_id}"


def rows(status: Status, now: datetime) -> dict[str, str]:
    """Return what the card says below its head, a label each."""
    offset = status.clock_offset_s
    ahead = "" if offset is None else f", gateway {offset:+.2f} s"
    known = {label: redact(str(value)) for label, value in card_rows(status).items()}
    clock_row = {"clock": f"{now:%Y-%m-%d %H:%M:%S} UTC{ahead}"}
    return {"gateway": address(status), **known, **clock_row}


def card(status: Status, now: datetime) -> str:
    """Return the card's HTML."""
    word, meaning = KINDS[status.kind]
    state = badge(status.state, STATE_COLOURS.get(status.state, GREY))
    body = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(words)}</dd>"
        for label, words in rows(status, now).items()
    )
    return (
        f'<p style="font-size:15px">{badge(word, PROFILE_COLOURS[status.kind])} {state}</p>'
        f"<p><small>{escape(meaning)}</small></p><dl>{body}</dl>"
    )
