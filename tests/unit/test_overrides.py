"""The user's file: read as a whole or refused as a whole, and never silent."""

from datetime import date, time
from decimal import Decimal

import pytest

from ibkit.contracts.overrides import Overrides, load_overrides
from ibkit.errors import SettingsError

GOOD = """
[prefer]
currencies = ["GBP"]
[listings]
VOD = "VOD@LSE:GBP"
[futures.ES]
min_tick = "0.50"
months = "HMUZ"
[roll.default]
days = 3
[roll.CL]
rule = "volume"
[holidays.CME]
closed = [2026-12-24, 2026-12-25]
early = { "2026-11-27" = "12:15" }
[holidays."CME ZC"]
early = { "2026-12-24" = "12:05" }
[margins.ES]
initial = "21000"
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        (tmp_path / "contracts.toml").write_text(text)
        return tmp_path

    return written


def test_each_table_gives_what_it_says(write):
    found = load_overrides(write(GOOD))

    assert found.spec("ES") == {"min_tick": Decimal("0.50"), "months": (3, 6, 9, 12)}
    assert found.spec("CL") == {}
    assert found.roll_rule("CL") == {"days": 3, "rule": "volume"}
    assert found.listed("VOD") == "VOD@LSE:GBP"
    assert found.margins["ES"].initial == 21000


def test_a_product_day_wins_over_the_day_of_its_exchange(write):
    found = load_overrides(write(GOOD)).holiday("CME", "ZC")

    assert found.closed == (date(2026, 12, 25),)
    assert found.early == {date(2026, 11, 27): time(12, 15), date(2026, 12, 24): time(12, 5)}


def test_what_was_overridden_can_be_seen(write):
    found = load_overrides(write(GOOD))

    assert (
        found.words("futures", "ES")
        == "overridden: min_tick=0.50, months=[3, 6, 9, 12] (contracts.toml)"
    )
    assert found.words("futures", "NQ") == ""
    assert repr(found) == (
        "<Overrides contracts.toml: 1 listings, 1 futures, 2 roll, 2 holidays, 1 margins, "
        "preferences>"
    )


def test_without_a_file_nothing_is_overridden(tmp_path):
    assert repr(load_overrides(tmp_path)) == repr(Overrides()) == "<Overrides none>"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[futures.ES]\nmin_tick = 0.5", "futures.ES.min_tick: write it in quotes"),
        ("[futures.ES]\nmultiplikator = '5'", "is no key; nearest: multiplier"),
        ("[futures.ES]\nhours = 'cme_equty'", "line 2, futures.ES.hours: 'cme_equty'"),
        ("[futures.ES]\ncalendar = 'Mars'", "there are: US, LONDON"),
        ("[futures.ES]\nlast_trade = 'third_fryday'", "nearest: third_friday"),
        ("[futures.ES]\ndelivery = 'cashh'", "nearest: cash"),
        ("[futures.EZ]\nmin_tick = '1'", "line 1, futures.EZ: 'EZ' is no root"),
        ("[futures.EUR]\nmin_tick = '1'", "the root of the futures table is 6E"),
        ("[roll.CLL]\ndays = 5", "nearest: CL"),
        ("[prefer]\ncurrencies = ['eur']", "line 2, prefer.currencies.0: 'eur' is no currency"),
        ("[holidays.NYSEE]\nclosed = [2026-12-24]", "nearest: NYSE"),
        ("[margens.ES]\ninitial = '1'", "line 1, margens: 'margens' is no key; nearest: margins"),
        ("[futures.ES]\nmonths = 'HX1'", "'1' is no month"),
        ("[roll.ES]\ndays = -1", "roll.ES.days"),
        ("[listings]\nVOD = 'FUT:'", "listings.VOD: Cannot read"),
        ("[listings]\nA = 'B'\nB = 'A'", "goes round"),
        ("[holidays.CME]\nearly = { '2026-11-27' = '25:00' }", "no time of day"),
        ("[holidays.CME]\nclosed = [2026-12-24]\nopen = [2026-12-24]", "named twice"),
        ("[holidayz.CME]\n", "holidayz"),
        ("source = 'x'", "source"),
        ("[futures", "Expected"),
    ],
)
def test_a_mistake_is_refused_with_its_place(write, text, problem):
    with pytest.raises(SettingsError, match=r"contracts\.toml") as caught:
        load_overrides(write(text))

    assert problem in str(caught.value)


def test_every_mistake_is_named_at_once_in_the_order_of_its_lines(write):
    text = "[roll.CLL]\ndays = 5\n[futures.ES]\nmin_tick = 0.5\n\ncolour = 'red'\n"
    with pytest.raises(SettingsError) as caught:
        load_overrides(write(text))

    lines = [problem.partition(",")[0] for problem in caught.value.problems]
    assert lines == ["line 1", "line 4", "line 6"]


@pytest.mark.parametrize("symbol", ["6E", "EUR"])
def test_the_days_of_a_product_are_found_by_its_root_and_by_ibs_symbol(write, symbol):
    found = load_overrides(write(f'[holidays."CME {symbol}"]\nclosed = [2026-12-24]\n'))

    assert found.holiday("CME", "EUR").closed == (date(2026, 12, 24),)
    assert found.holiday("CME", "GBP").closed == ()


def test_hours_of_a_root_are_those_that_the_user_names():
    given = Overrides(futures={"ES": {"hours": "cme_grains"}})

    assert given.hours() == {"ES": "cme_grains"}
