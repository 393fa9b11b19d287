"""Random numbers that can be read from any place: a stream for each key, the same for ever.

The generator is counter-based (Philox) and keyed by a hash of what it is for, so no draw depends
on which others were made before. numpy may change how it turns bits into normals between major
versions; a test pins the first draws.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MINUTES: Final = 1440


def stream(*key: object) -> np.random.Generator:
    """Return the generator for `key`, always from its beginning.

    >>> bool(stream("a", 1).random() == stream("a", 1).random())
    True
    """
    digest = blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def fraction(*key: object) -> float:
    """Return one number in [0, 1) for `key`; cheaper than a stream."""
    digest = blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


@lru_cache(maxsize=2048)
def _day(seed: int, factor: str, day: int) -> NDArray[np.float64]:
    """Return one normal for each minute of UTC day `day`."""
    return stream(seed, "minutes", factor, day).standard_normal(MINUTES)


def minute_normals(seed: int, factor: str, first: int, count: int) -> NDArray[np.float64]:
    """Return the normals of `factor` for `count` minutes from minute `first` of the epoch."""
    days = range(first // MINUTES, (first + count - 1) // MINUTES + 1)
    pieces = [_day(seed, factor, day) for day in days]
    offset = first - days[0] * MINUTES
    whole = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return whole[offset : offset + count]
