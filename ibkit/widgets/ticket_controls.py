"""The controls of an order ticket, and how they lie: ipywidgets, nothing else.

They know neither kit nor order: `read` says what is filled in, `show` obeys a view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ipywidgets as ipw

from ibkit.widgets.parts import STYLE, reach
from ibkit.widgets.ticket_view import Draft, tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    from ibkit.widgets.ticket_view import View

ORDER_TYPES: Final = (("Market", "MKT"), ("Limit", "LMT"))
TIFS: Final = (
    ("Day", "DAY"),
    ("Until cancelled", "GTC"),
    ("At once or not", "IOC"),
)
WIDE: Final = {"description_width": "86px"}


class Controls:
    """Inputs, two buttons and the HTML between them.

    Parameters
    ----------
    kind : str
        Of the profile; it colours the edge.
    quantity, step : float
        What the quantity begins with, and what the instrument's sizes go in.
    """

    def __init__(self, kind: str, *, quantity: float = 1, step: float = 1) -> None:
        half = ipw.Layout(width="256px")
        self.action = ipw.ToggleButtons(
            options=[("Buy", "BUY"), ("Sell", "SELL")],
            description="Side",
            style={**WIDE, "button_width": "80px"},
            layout=ipw.Layout(width="auto"),
        )
        self.action.add_class("ibkit-side")
        self.quantity = ipw.FloatText(
            quantity, step=step, description="Quantity", style=WIDE, layout=half
        )
        self.order_type = ipw.Dropdown(
            options=ORDER_TYPES, description="Order type", style=WIDE, layout=half
        )
        self.price = ipw.FloatText(0, description="Limit price", style=WIDE, layout=half)
        self.tif = ipw.Dropdown(options=TIFS, description="In force", style=WIDE, layout=half)
        self.arm = ipw.Button(
            description="Arm", tooltip="Ask IB for margin and commission; sends nothing"
        )
        self.send = ipw.Button(
            description="Buy", layout=ipw.Layout(width="auto", min_width="180px")
        )
        self.cancel = ipw.Button(
            description="Cancel open orders", tooltip="Cancel what this ticket sent and IB has open"
        )
        self._html = {name: ipw.HTML() for name in ("head", "quote", "message", "lines")}
        self.box = self._lay_out(kind)
        reach(*self.inputs, *self.buttons)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Everything that a person fills in."""
        return (self.action, self.quantity, self.order_type, self.price, self.tif)

    @property
    def buttons(self) -> tuple[Any, ...]:
        """Everything that a person presses."""
        return (self.arm, self.send, self.cancel)

    def connect(self, *, edited: Callable[[], None], **pressed: Callable[[], None]) -> None:
        """Call `edited` when something is filled in, and by its name what is pressed."""
        for control in self.inputs:
            control.observe(lambda _: edited(), names="value")
        for name, press in pressed.items():
            getattr(self, name).on_click(lambda _, press=press: press())

    def read(self) -> Draft:
        """Return what is filled in, right or wrong."""
        limit = self.order_type.value == "LMT"
        return Draft(
            action=self.action.value,
            quantity=tidy(self.quantity.value),
            order_type=self.order_type.value,
            limit_price=tidy(self.price.value) if limit else None,
            tif=self.tif.value,
        )

    def show(self, view: View) -> None:
        """Bring the controls in line with `view`; what has not changed is not sent again."""
        for name, html in self._html.items():
            html.value = getattr(view, name)
        for control in self.inputs:
            control.disabled = not view.inputs_enabled
        self.price.disabled = not view.price_enabled
        self.arm.description, self.arm.disabled = view.arm_label, not view.arm_enabled
        self.cancel.disabled = not view.cancel_enabled
        self.cancel.layout.display = None if view.cancel_enabled else "none"
        self.send.description, self.send.disabled = view.send_label, not view.send_enabled
        self.arm.button_style, self.send.button_style = view.arm_style, view.send_style

    def close(self) -> None:
        """Take the buttons out of use; what was said stays in view."""
        for control in (*self.inputs, *self.buttons):
            control.disabled = True
            control.unobserve_all()

    def _lay_out(self, kind: str) -> ipw.VBox:
        box = ipw.VBox(
            [
                ipw.HTML(STYLE, layout=ipw.Layout(display="none")),
                self._html["head"],
                self._html["quote"],
                self.action,
                _row(self.quantity, self.order_type),
                _row(self.price, self.tif),
                self._html["message"],
                _row(*self.buttons),
                self._html["lines"],
            ]
        )
        for name in ("ibkit-widget", "ibkit-ticket", f"ibkit-{kind}"):
            box.add_class(name)
        return box


def _row(*controls: ipw.Widget) -> ipw.HBox:
    row = ipw.HBox(controls, layout=ipw.Layout(flex_flow="row wrap"))
    row.add_class("ibkit-row")
    return row
