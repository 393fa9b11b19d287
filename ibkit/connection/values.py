"""Copy ib_async's live objects, so that what leaves the loop thread no longer changes.

Not here: frames (`ibkit.account`, `ibkit.live`).
"""

from __future__ import annotations

import copy
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


def snapshot(value: T) -> T:
    """Return a copy of what ib_async holds, as it is at this moment.

    Containers are copied with what they hold, dataclasses (trades, tickers, orders, contracts)
    field by field. The events of a trade or ticker stay the live ones, so a handler can still be
    connected to a copy.
    """
    return cast("T", _copied(value))


def _copied(value: Any) -> Any:
    if hasattr(value, "_asdict"):  # a NamedTuple: Fill, Position…
        return value._replace(**{key: _copied(item) for key, item in value._asdict().items()})
    if type(value) in {list, set, tuple}:
        return type(value)(map(_copied, value))
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return _twin(value)
    return copy.copy(value) if isinstance(value, list) else value  # BarDataList and the like


def _twin(value: Any) -> Any:
    twin = copy.copy(value)
    if not value.__dataclass_params__.frozen:
        for each in fields(value):
            setattr(twin, each.name, _copied(getattr(value, each.name)))
    return twin
