"""The table of IB's codes: complete for what the gateway sends, one meaning for one text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ibkit import codes, errors
from ibkit.cli import app

SIM = Path(codes.__file__).parent / "sim"


def test_a_meaning_without_words_comes_last_and_once():
    for code in {each.code for each in codes.CODES}:
        words = [each.words for each in codes.meanings(code)]
        assert "" not in words[:-1], code
        assert len(words) == len(set(words)), code


@pytest.mark.parametrize(
    ("code", "text", "kind", "error"),
    [
        (162, "HMDS query returned no data: AAPL", "no data", errors.NoDataError),
        (162, "API historical data query cancelled: 4", "cancelled", errors.RequestCancelledError),
        (162, "Historical data request pacing violation", "pacing", errors.PacingError),
        (162, "Trading TWS session is connected from a different IP address", "permission",
         errors.NoPermissionError),
        (321, "cause - The API interface is currently in Read-Only mode.", "bad request",
         errors.RequestRefusedError),
        (101, "Max number of tickers has been reached.", "limit", errors.LimitError),
        (10197, "No market data during competing live session", "permission",
         errors.NoPermissionError),
    ],
)  # fmt: skip
def test_a_text_finds_its_meaning_and_its_error(code, text, kind, error):
    known = codes.find(code, text)

    assert known is not None
    assert known.kind == kind
    raised = errors.refused(code, text)
    assert type(raised) is error
    assert raised.kind == kind
    assert known.fix in str(raised)
    assert text in str(raised)


def test_every_code_that_the_simulated_gateway_sends_is_explained():
    said = re.compile(r'\b(?:RefusedError|InvalidOrder|Message|error)\((?:\w+, )?(\d{3,5}), f?"')
    sent = {int(each) for path in SIM.rglob("*.py") for each in said.findall(path.read_text())}

    assert len(sent) > 30
    assert sent <= {each.code for each in codes.CODES}


def test_an_unknown_code_keeps_ibs_words():
    assert codes.find(99_999) is None
    assert str(errors.refused(99_999, "something new")) == "IB 99999: something new"


def test_explain_says_why_and_what_helps():
    result = CliRunner().invoke(app, ["explain", "10197"])

    assert result.exit_code == 0
    assert "another session" in result.stdout
    assert "help" in result.stdout


def test_explain_names_what_is_near_a_code_that_is_not_there():
    result = CliRunner().invoke(app, ["explain", "10198"])

    assert result.exit_code == 1
    assert "10197" in result.output
