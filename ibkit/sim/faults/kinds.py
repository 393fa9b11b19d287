"""Every fault that the gateway can be told to have: one table.

A kind says which door it works at, which parameters it takes, what a real gateway does, and where
that is known from (sections of the fact sheet, IBKR's documents, threads of the client libraries).
Not here: what makes them happen (`requests`, `replies`, `bytes`, `service`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from ibkit.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# where a fault works: at the port, on what is heard, on what is told, on the bytes of a socket; an
# event happens once
Door = Literal["port", "request", "reply", "bytes", "event"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    Attributes
    ----------
    name : str
        What it is called everywhere.
    door : Door
        Where it works.
    does : str
        What a real gateway does, in one sentence.
    source : str
        Where that is known from.
    defaults : mapping
        Its parameters and what they are when not given; the type of a default is the parameter's.
    needs : tuple of str
        Parameters that must be given.
    """

    name: str
    door: Door
    does: str
    source: str
    defaults: Mapping[str, Any]
    needs: tuple[str, ...] = ()

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with what was not given; refuse what the kind does not take.

        Raises
        ------
        SimulationError
            A parameter is unknown, missing, or of another type.
        """
        unknown = sorted(set(given) - set(self.defaults))
        if unknown:
            takes = ", ".join(self.defaults) or "none of its own"
            raise SimulationError(
                f"{self.name} takes no {', '.join(unknown)}; its parameters: {takes}"
            )
        lacking = [name for name in self.needs if not given.get(name)]
        if lacking:
            raise SimulationError(f"{self.name} needs {', '.join(lacking)}")
        read = {name: self._read(name, value) for name, value in given.items()}
        return {**self.defaults, **read}

    def _read(self, name: str, value: Any) -> Any:
        """Return a value as the type of its default; text is read, for the command line's sake."""
        wanted = type(self.defaults[name])
        if isinstance(value, str) and wanted is not str:
            value = _parse(self.name, name, value, wanted)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not wanted:
            raise SimulationError(f"{self.name}: {name} is a {wanted.__name__}, not {value!r}")
        if isinstance(value, float) and not 0 <= value < float("inf"):
            raise SimulationError(f"{self.name}: {name} must not be negative, got {value}")
        return value


def _parse(kind: str, name: str, text: str, wanted: type) -> Any:
    readers: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: _truth}
    try:
        return readers[wanted](text)
    except (KeyError, ValueError):
        raise SimulationError(f"{kind}: {name} is a {wanted.__name__}, not {text!r}") from None


def _truth(text: str) -> bool:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
        text.lower()
    ]


S7: Final = "facts §7"
LIST: Final = (
    # --- the port ---
    Kind("refuse", "port", "Nothing listens: connections are refused, as during a restart.",
         f"{S7}: daily restart; IBKR docs", {}),
    Kind("silent", "port", "A socket is accepted and never spoken to: nobody has logged in.",
         f"{S7}: gateway up but not logged in; client library threads", {}),
    Kind("hang_up", "port", "A socket is accepted and closed at once, as for an untrusted address.",
         f"{S7}: API disabled / IP not trusted; client library threads", {}),
    Kind("linger", "port", "A client's id stays taken for a while after its socket is gone: 326.",
         f"{S7}: client crash; facts §1.6", {"seconds": 60.0}),
    # --- once ---
    Kind("drop", "event", "The sockets of clients are closed without a word.",
         f"{S7}: sockets close (peer EOF)", {"reset": False}),
    Kind("restart", "event", "All sockets close, the port refuses for a while, then a session "
         "begins anew: GTC orders, positions and executions are there, DAY orders have ended.",
         f"{S7}: daily auto-restart; facts §3.11",
         {"down_s": 60.0, "keep_day_orders": False}),
    Kind("roll_back_ids", "event", "Order ids begin anew, as after `Reset API order ID sequence`.",
         "facts §1.6: nextValidId; IBKR docs", {"to": 1}),
    Kind("move_port", "event", "1300: the port was changed in the settings, and the socket closes.",
         f"{S7}: port changed; IBKR docs", {"port": 7497}),
    Kind("notice", "event", "A system message with id -1.", "facts §1.4, §8",
         {"code": 2110, "text": ""}),
    Kind("close_lines", "event", "1101: the link is back and the market data lines are gone.",
         f"{S7}: restored, data lost", {}),
    # --- the service behind the gateway ---
    Kind("link_lost", "request", "1100: the link to IBKR is gone; sockets stay open, requests that "
         "need it and streams fall silent; at its end 1102, or 1101 if subscriptions are lost.",
         f"{S7}: 1100/1101/1102; IBKR docs", {"data_lost": False}),
    Kind("nightly_reset", "event", "The link goes and comes (1100/1102) some times in a night, "
         "farms with it; orders stay.", f"{S7}: nightly server reset",
         {"flaps": 3, "down_s": 20.0, "up_s": 40.0}),
    Kind("farm_down", "request", "2103/2105/2157: a farm's connection is broken; what it serves "
         "falls silent; at its end 2104/2106/2158.", f"{S7}: farm down/up; IBKR docs",
         {"farm": "usfarm"}),
    Kind("farm_asleep", "request", "2107/2108: a farm is inactive until it is needed; the first "
         "request wakes it (2119, 2104/2106) and is never answered.",
         f"{S7}: missing end marker, HMDS inactive", {"farm": "ushmds"}),
    Kind("competing_session", "request", "10197 for every market data line while another session "
         "of the user has the data.", f"{S7}: market data competing session", {}),
    # --- requests ---
    Kind("ignore", "request", "A request is heard and never answered.",
         f"{S7}: requests may be silent; facts §1.4", {"request": ""}, ("request",)),
    Kind("slow", "request", "A request is answered late.",
         f"{S7}: slow replies", {"request": "all", "seconds": 1.0, "jitter_s": 0.0}),
    Kind("reject", "request", "A request is refused with a code and a text.", "facts §8",
         {"request": "", "code": 322, "text": "Error processing request.-'bM' : cause - simulated"},
         ("request",)),
    Kind("pacing_violation", "request", "162: requests for history come too fast (said whether or "
         "not they do).", "facts §4.9; IBKR docs",
         {"request": "historical"}),
    Kind("max_open", "request", "More than 50 requests for history are open at once: 162.",
         "facts §4.9: max 50 simultaneous; IBKR docs", {"limit": 50}),
    Kind("max_lines", "request", "101: more market data lines than the user has.",
         "facts §4.1: 100 lines", {"limit": 100}),
    Kind("read_only", "request", "321: the API is in Read-Only mode; orders, cancels and lists of "
         "orders are refused.", "facts §3.8", {}),
    Kind("order_rejected", "request", "201: an order becomes Inactive for a reason.", "facts §3.8",
         {"reason": "No Trading Permission"}),
    Kind("preset", "request", "10349: an order without a time in force gets one by preset, and is "
         "told so; the order works, though ib_async shows it Cancelled.", "facts §3.7, §12",
         {"tif": "DAY", "always": False}),
    # --- replies ---
    Kind("withhold", "reply", "A message is never sent: end markers get lost that way.",
         f"{S7}: missing end marker", {"message": ""}, ("message",)),
    Kind("duplicate", "reply", "A message is sent more than once.", "facts §3.1: normal",
         {"message": "", "copies": 1}, ("message",)),
    Kind("late", "reply", "A message is sent late, after others that were to follow it.",
         "facts §3.2", {"message": "", "seconds": 1.0}, ("message",)),
    Kind("late_execution", "reply", "execDetails and commission come after the status Filled.",
         "facts §3.2: late execution", {"seconds": 0.0}),
    Kind("corrupt_field", "reply", "A field of a message is another text, is missing, or is one "
         "too many.", "not observed; a decoder must survive it",
         {"message": "", "field": -1, "value": "\u00bfcorrupt?", "how": "replace"}, ("message",)),
    # --- bytes ---
    Kind("half_open", "bytes", "Nothing passes in either direction, and nobody hangs up.",
         f"{S7}: half-open", {}),
    Kind("split", "bytes", "Frames arrive in pieces.", "facts §1.1", {"size": 7, "pause_s": 0.0}),
    Kind("coalesce", "bytes", "Frames arrive many at a time.", "facts §1.1", {"seconds": 0.2}),
    Kind("corrupt_bytes", "bytes", "Bytes are changed on their way: in fields, or in lengths too.",
         "not observed; a decoder must survive it", {"share_of_bytes": 0.001, "lengths": False}),
    Kind("cut", "bytes", "The socket ends in the middle of a frame.", f"{S7}: sockets close",
         {}),
)  # fmt: skip
KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in LIST}


def kind_of(name: str) -> Kind:
    """Return the kind of a name; dashes are as good as underscores.

    Raises
    ------
    ValueError
        There is none; the text lists them.
    """
    found = KINDS.get(str(name).replace("-", "_"))
    if found is None:
        raise SimulationError(f"no fault is called {name!r}; the kinds are {', '.join(KINDS)}")
    return found
