"""Which farm serves what: market data by region and kind, history, security definitions.

Not here: what happens when one is down (`requests`, `replies`, `service`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ibkit.sim.faults.names import CLASSES

if TYPE_CHECKING:
    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Record

HMDS: Final = "ushmds"
SECDEF: Final = "secdefnj"
BY_TYPE: Final = {
    "FUT": "usfuture",
    "FOP": "usfuture",
    "CASH": "cashfarm",
    "CMDTY": "cashfarm",
    "OPT": "usopt",
    "BOND": "usbond",
    "CRYPTO": "usfarm",
}
BY_CURRENCY: Final = {"JPY": "jfarm", "HKD": "hfarm", "EUR": "eufarm", "GBP": "eufarm"}
FARMS: Final = frozenset(
    {HMDS, SECDEF, "usfarm", *BY_TYPE.values(), *BY_CURRENCY.values(), "fundfarm", "cashhmds"}
)


def farm_of(gateway: Gateway, name: str, values: Record) -> str:
    """Return the farm that a request needs, or nothing."""
    if name in CLASSES["historical"]:
        return HMDS
    if name in CLASSES["contracts"]:
        return SECDEF
    if name in CLASSES["market_data"] and "contract" in values:
        instrument = _resolved(gateway, values)
        return serves(instrument) if instrument is not None else ""
    return ""


def serves(instrument: Instrument) -> str:
    """Return the farm of an instrument's market data."""
    return BY_TYPE.get(instrument.sec_type) or BY_CURRENCY.get(instrument.currency, "usfarm")


def line_farm(client: Client, req_id: int) -> str:
    """Return the farm that a running line of a client comes from, or nothing."""
    streams = client.streams
    for lines in (streams.quotes, streams.ticks, streams.depth, streams.real_time_bars):
        if req_id in lines:
            instrument = _instrument(lines[req_id])
            return serves(instrument) if instrument is not None else ""
    return HMDS if req_id in streams.bars else ""


def is_market_data(farm: str) -> bool:
    """Whether a farm carries market data."""
    return not farm.endswith("hmds") and not farm.startswith("secdef")


def broken(farm: str) -> tuple[int, str]:
    """Return the message that a farm is gone."""
    return _message(farm, 2103, 2105, 2157, "broken")


def restored(farm: str) -> tuple[int, str]:
    """Return the message that a farm is back."""
    return _message(farm, 2104, 2106, 2158, "OK")


def asleep(farm: str) -> tuple[int, str]:
    """Return the message that a farm waits to be needed."""
    code, name = (2108, "Market data farm") if is_market_data(farm) else (2107, "HMDS data farm")
    return code, f"{name} connection is inactive but should be available upon demand.{farm}"


def wakes(farm: str) -> list[tuple[int, str]]:
    """Return the messages of a farm that connects because it is needed."""
    connecting = (2119, f"Market data farm is connecting:{farm}")
    return [*([connecting] if is_market_data(farm) else []), restored(farm)]


def _message(farm: str, market: int, history: int, definitions: int, state: str) -> tuple[int, str]:
    if farm.startswith("secdef"):
        return definitions, f"Sec-def data farm connection is {state}:{farm}"
    if farm.endswith("hmds"):
        return history, f"HMDS data farm connection is {state}:{farm}"
    return market, f"Market data farm connection is {state}:{farm}"


def _instrument(line: Any) -> Instrument | None:
    """Return what a line is about, wherever it keeps that."""
    found: Instrument | None = getattr(line, "instrument", None)
    return found or getattr(getattr(line, "query", None), "instrument", None)


def _resolved(gateway: Gateway, values: Record) -> Instrument | None:
    """Return the instrument that a request describes, or None when that is the handler's error."""
    from ibkit.sim.handlers.instruments import resolve
    from ibkit.sim.handlers.refusal import RefusedError

    try:
        return resolve(gateway, values)
    except RefusedError:
        return None
