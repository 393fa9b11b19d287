"""The language of the TWS API socket at server version 178, as tables that read and write.

A new message is one row: in `requests` if a client sends it, in `replies` if the server does.
"""

from __future__ import annotations

from ibkit.sim.wire.fields import Columns, Message, Record, WireError
from ibkit.sim.wire.frames import Deframer, pack, unpack
from ibkit.sim.wire.replies import REPLIES
from ibkit.sim.wire.requests import REQUESTS

SERVER_VERSION = 178

__all__ = [
    "REPLIES",
    "REQUESTS",
    "SERVER_VERSION",
    "Columns",
    "Deframer",
    "Message",
    "Record",
    "WireError",
    "pack",
    "unpack",
]
