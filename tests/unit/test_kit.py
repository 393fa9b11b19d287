"""The status card's rows, and the kinds of accounts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from ibkit.connection.health import Status
from ibkit.kit import card_rows

STATUS = Status(
    profile="paper",
    kind="paper",
    state="ready",
    reason="",
    host="127.0.0.1",
    port=4002,
    client_id=1,
    server_version=178,
    simulated=False,
    trading=False,
    accounts=("DU1234567",),
    farms={"usfarm": "ok", "ushmds": "broken"},
    lines=3,
    messages_left=40,
    clock_offset_s=-1.2,
    connected_since=datetime(2026, 11, 20, 14, 30, tzinfo=UTC),
    root=Path("/data/paper"),
)


def test_the_card_masks_accounts_and_names_what_is_wrong():
    rows = card_rows(STATUS)

    assert "DU1234567" not in str(rows)
    assert rows["orders"] == "read-only"
    assert rows["farms"] == "ushmds broken"
    assert rows["clock"] == "gateway -1 s"
    assert rows["connected"] == "2026-11-20 14:30:00 UTC"
    assert "reason" not in rows
