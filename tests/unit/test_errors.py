"""What a user reads when something fails, and that it survives the trip between kernels."""

import pickle
from pathlib import Path

import pytest
from ib_async import Stock

from ibkit import errors
from ibkit.errors import (
    AmbiguousContractError,
    IbkitError,
    InvalidRowsError,
    NoDataError,
    NoPermissionError,
    PacingError,
    RequestCancelledError,
    RequestRefusedError,
    ShorthandError,
    UnknownContractError,
    UnknownProfileError,
    refused,
)

HMDS = "Historical Market Data Service error message:"
EXAMPLES = (
    errors.SettingsError(["profiles.paper.prot = 1: extra"], "ibkit.toml"),
    UnknownProfileError("papper", ["live", "paper", "sim"]),
    errors.GatewayUnreachableError("127.0.0.1", 4002, "nothing listens there", "start TWS"),
    errors.PortInUseError("127.0.0.1", 4002),
    errors.SeedMismatchError(Path("root"), 1, 2),
    errors.NotConnectedError("closed", "reqPositions"),
    errors.RequestTimeoutError("reqHistoricalData", 60),
    refused(200, "No security definition has been found for the request", Stock("AAPL")),
    AmbiguousContractError("VOD", [("VOD", "Vodafone ADR"), ("VOD@LSE:GBP", "Vodafone Group")]),
    ShorthandError("FUT:ES:26", 7, "a month"),
    errors.ReadOnlyError("live"),
    errors.DuplicateIntentError("k1", "submitted", "ibkit:k1:0"),
    errors.StoreAccessError("data/sim", "permission denied"),
    InvalidRowsError("bars_1min", [("high >= low", 1, "row 3: high=1.0 low=2.0")]),
    errors.CorruptFileError("part-0.parquet", "no magic bytes"),
    errors.ParameterError("backfill", ["days: 'abc' is no int"]),
    errors.NotebookFailedError("backfill", 4, "ValueError: no", "out.ipynb"),
)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_words_and_facts_through_a_pickle(error):
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_one_except_catches_everything_of_ours(error):
    assert isinstance(error, IbkitError)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (162, f"{HMDS}HMDS query returned no data: X", NoDataError),
        (162, f"{HMDS}Historical data request pacing violation", PacingError),
        (162, f"{HMDS}API historical data query cancelled: 12", RequestCancelledError),
        (162, f"{HMDS}No market data permissions for ISLAND STK", NoPermissionError),
        (162, "something new", RequestRefusedError),
        (200, "No security definition has been found for the request", UnknownContractError),
        (354, "Requested market data is not subscribed.", NoPermissionError),
        (9999, "never seen", RequestRefusedError),
    ],
)
def test_one_code_with_many_meanings_is_told_apart_by_ibs_words(code, reason, kind):
    error = refused(code, reason)

    assert type(error) is kind
    assert str(code) in str(error)
    assert reason in str(error)


def test_a_refusal_also_is_the_builtin_that_it_resembles():
    assert isinstance(refused(200, ""), LookupError)
    assert isinstance(refused(354, ""), PermissionError)
    assert isinstance(errors.RequestTimeoutError("x", 1), TimeoutError)


def test_a_refusal_names_the_instrument_and_says_what_to_do():
    text = str(refused(200, "No security definition", Stock("APPL", "SMART", "USD")))

    assert text.startswith("IB 200 for STK APPL SMART USD: No security definition")
    assert "Hint: check symbol" in text
