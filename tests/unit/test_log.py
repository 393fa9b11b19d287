"""Nothing that names the user leaves the machine in a log line."""

import logging
from pathlib import Path

import pytest

from ibkit.log import get_logger, redact


@pytest.mark.parametrize("account", ["U1234567", "DU1234567", "F7654321", "DUSIM0001", "DF123456"])
def test_account_ids_are_masked_wherever_they_stand(account):
    masked = redact(f"order for {account}, again ({account})")

    assert account not in masked
    assert masked.count("••••") == 2


def test_the_home_folder_is_masked():
    assert str(Path.home() / "data") not in redact(f"wrote {Path.home() / 'data'}")


def test_ordinary_words_and_numbers_stay():
    text = "BUY 100 AAPL at 189.50, IB 162, U2 concert, conId 265598"

    assert redact(text) == text


def test_a_log_line_reaches_stdlib_logging_with_its_facts_redacted(caplog):
    with caplog.at_level(logging.INFO, logger="ibkit.test"):
        get_logger("ibkit.test").info("connected", account="DU1234567", client_id=1)

    assert caplog.messages == ["connected account=DU•••• client_id=1"]
