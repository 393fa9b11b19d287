import json

import numpy as np
import pandas as pd
import pytest

from ibkit import plots
from ibkit.plots import look, sessions

TZ = "America/New_York"


def bars(slug="STK-AAPL-SMART-USD", *, days=3, n=390, first="09:30", volume=True, seed=1):
    rng = np.random.default_rng(seed)
    opens = pd.bdate_range("2026-11-16", periods=days, tz=TZ) + pd.Timedelta(first + ":00")
    ts = pd.DatetimeIndex(
        [o.tz_convert("UTC") + pd.Timedelta(minutes=i) for o in opens for i in range(n)], name="ts"
    )
    close = 190 * np.exp((rng.standard_normal(len(ts)) * 4e-4).cumsum())
    frame = pd.DataFrame(
        {
            "open": close,
            "high": close + 0.1,
            "low": close - 0.1,
            "close": close,
            "volume": np.arange(1.0, len(ts) + 1) if volume else np.nan,
        },
        index=ts,
    )
    frame.attrs = {"instrument": slug, "bar_size": "1 min", "simulated": True}
    return frame


def words(figure):
    return " ".join(note.text for note in figure.layout.annotations)


def spans_of(figure):
    return [tuple(rule.bounds) for rule in figure.layout.xaxis.rangebreaks]


def test_prices_are_candles_while_they_can_be_told_apart_then_a_line():
    assert plots.price(bars(days=1)).data[0].type == "candlestick"
    assert plots.price(bars(days=3)).data[0].type == "scatter"
    assert plots.price(bars(days=3), every="30min").data[0].type == "candlestick"
    assert plots.price(bars(days=1), kind="line").data[0].type == "scatter"


def test_larger_bars_keep_extremes_and_the_whole_volume():
    frame = bars(days=2)

    larger = sessions.larger(frame, "30min")

    assert len(larger) == 26
    assert larger["high"].max() == frame["high"].max()
    assert larger["volume"].sum() == frame["volume"].sum()
    assert larger["open"].iloc[0] == frame["open"].iloc[0]
    assert larger.attrs["simulated"]


def test_the_pauses_between_sessions_are_hidden_and_nothing_else():
    spans = spans_of(plots.price(bars(days=3), tz=TZ))

    assert spans == [
        ("2026-11-16T16:00:00", "2026-11-17T09:30:00"),
        ("2026-11-17T16:00:00", "2026-11-18T09:30:00"),
    ]


def test_a_hole_inside_a_session_stays_visible_and_no_line_crosses_it():
    frame = bars(days=3)
    local = frame.index.tz_convert(TZ)
    hole = (local.day == 17) & (local.hour >= 11) & (local.hour < 13)

    figure = plots.price(frame[~hole], tz=TZ, kind="line")

    assert len(spans_of(figure)) == 2
    closes = pd.Series(np.asarray(figure.data[0].y), index=pd.to_datetime(figure.data[0].x))
    assert np.isnan(closes["2026-11-17 11:00"])


def test_a_daily_pause_such_as_a_lunch_break_is_hidden():
    frame = bars("STK-0700-SEHK-HKD", days=3)
    local = frame.index.tz_convert(TZ)

    spans = spans_of(plots.price(frame[local.hour != 12], tz=TZ))

    assert ("2026-11-16T12:00:00", "2026-11-16T13:00:00") in spans


def test_daily_bars_hide_weekends_only():
    ts = pd.bdate_range("2026-10-01", periods=30, tz="UTC", name="ts")
    frame = pd.DataFrame({key: np.arange(1.0, 31) for key in ("open", "high", "low", "close")}, ts)
    frame.attrs = {"bar_size": "1 day"}

    assert spans_of(plots.price(frame)) == [("sat", "mon")]


def test_so_many_sessions_that_a_browser_would_crawl_hide_weekends_only():
    assert spans_of(plots.price(bars(days=130, n=2))) == [("sat", "mon")]


@pytest.mark.parametrize(
    ("slug", "unit", "volume"),
    [
        ("STK-VOD-LSE-GBP", "GBP", "shares"),
        ("FUT-ES-CME-USD-20261218", "USD", "contracts"),
        ("CASH-EUR-IDEALPRO-USD", "USD per EUR", "units"),
        ("my own", "price", "units"),
    ],
)
def test_axes_say_currency_unit_and_zone(slug, unit, volume):
    layout = plots.price(bars(slug), tz=TZ).layout

    assert layout.yaxis.title.text == unit
    assert layout.yaxis2.title.text == volume
    assert TZ in layout.xaxis.title.text


def test_no_volume_no_second_axis():
    figure = plots.price(bars("CASH-EUR-IDEALPRO-USD", volume=False))

    assert len(figure.data) == 1


@pytest.mark.parametrize("key", ["simulated", "stale", "delayed", "partial", "unverified"])
def test_doubtful_data_say_so_on_the_figure_and_in_its_meta(key):
    frame = bars()
    frame.attrs = {**frame.attrs, "simulated": False, key: True}

    figure = plots.price(frame)

    assert key.upper() in words(figure)
    assert figure.layout.meta[key] is True


def test_clean_data_carry_no_mark():
    frame = bars()
    frame.attrs["simulated"] = False

    figure = plots.price(frame)

    assert words(figure) == ""
    assert "simulated" not in figure.layout.meta


def test_one_simulated_frame_marks_the_figure_of_many():
    real = bars("STK-MSFT-SMART-USD")
    real.attrs["simulated"] = False

    assert "SIMULATED" in words(plots.performance({"MSFT": real, "AAPL": bars()}))


def test_a_plot_does_not_change_its_frame():
    frame, before = bars(), bars()

    plots.price(frame, every="30min")
    plots.volume_profile(frame)
    plots.returns(frame)
    plots.performance({"AAPL": frame})

    pd.testing.assert_frame_equal(frame, before)
    assert frame.attrs == before.attrs


def test_performance_starts_at_zero_and_is_in_percent():
    frame = bars()
    figure = plots.performance({"AAPL": frame, "empty": frame.iloc[:0]})

    (line,) = figure.data
    assert line.y[0] == 0
    assert line.y[-1] == pytest.approx((frame.close.iloc[-1] / frame.close.iloc[0] - 1) * 100)


def test_the_volume_profile_sets_the_last_session_against_those_before():
    frame = bars(days=5)

    figure = plots.volume_profile(frame, minutes=30, tz=TZ)

    last = next(trace for trace in figure.data if trace.type == "bar")
    assert list(last.x)[:2] == ["09:30", "10:00"]
    assert len(last.x) == 13
    assert sum(last.y) == frame["volume"].tail(390).sum()
    assert next(trace for trace in figure.data if trace.name == "median").y[0] > 0


def test_a_profile_over_midnight_starts_after_the_pause():
    frame = bars("FUT-ES-CME-USD-20261218", n=1380, first="18:00")

    figure = plots.volume_profile(frame, minutes=60, tz=TZ)

    last = next(trace for trace in figure.data if trace.type == "bar")
    assert (last.x[0], last.x[-1]) == ("18:00", "16:00")
    assert f"{last.name}" == "Thu 19 Nov 2026"


def test_sessions_are_dated_by_the_exchanges_day():
    tokyo = bars("STK-7203-TSEJ-JPY", days=2, first="19:00", n=300)  # 09:00 in Tokyo
    late = bars(days=2, first="04:00", n=960)  # New York with extended hours

    assert list(sessions.dates(tokyo).dt.day.unique()) == [17, 18]
    assert list(sessions.dates(late).dt.day.unique()) == [16, 17]


def test_returns_leave_out_the_jump_between_sessions():
    frame = bars(days=3)
    frame.loc[frame.index[390:], ["open", "high", "low", "close"]] *= 2

    figure = plots.returns(frame)

    assert max(abs(np.asarray(figure.data[0].x))) < 100
    assert "1,167 returns" in figure.layout.meta["description"]


def test_correlations_show_every_number():
    matrix = pd.DataFrame([[1, 0.5], [0.5, 1]], ["A", "B"], ["A", "B"])

    heat = plots.correlations(matrix).data[0]

    assert (heat.zmin, heat.zmax) == (-1, 1)
    assert "%{z" in heat.texttemplate


def test_volatility_is_in_percent():
    table = pd.DataFrame({"AAPL": [0.2]}, pd.DatetimeIndex(["2026-11-20"]))

    assert plots.volatility(table).data[0].y[0] == pytest.approx(20)


def coverage_table(spans):
    return pd.DataFrame(
        {
            "dataset": ["bars_1min"],
            "instrument": ["STK-AAPL-SMART-USD"],
            "what_to_show": ["TRADES"],
            "use_rth": [False],
            "first": [pd.Timestamp("2026-11-16", tz="UTC")],
            "last": [pd.Timestamp("2026-11-20", tz="UTC")],
            "rows": [1950],
            "spans": [spans],
        }
    )


def test_coverage_draws_one_bar_a_span():
    day = pd.Timestamp("2026-11-16", tz="UTC")
    spans = [
        (day, day + pd.Timedelta(days=1)),
        (day + pd.Timedelta(days=3), day + pd.Timedelta(days=4)),
    ]

    figure = plots.coverage(coverage_table(spans))

    (bar,) = figure.data
    assert list(bar.x) == [86_400_000.0] * 2
    assert set(bar.y) == {"AAPL · 1min · TRADES · all hours"}


def test_coverage_falls_back_to_the_rows_where_nothing_was_answered():
    (bar,) = plots.coverage(coverage_table([])).data

    assert list(bar.x) == [4 * 86_400_000.0]


def gap_report(states):
    days = pd.bdate_range("2026-11-16", periods=len(states)).date
    return pd.DataFrame(
        {
            "instrument": "FUT:ES@CME:USD:20261218",
            "bar_size": "1 min",
            "what_to_show": "TRADES",
            "use_rth": True,
            "day": days,
            "expected": 390,
            "stored": [{"complete": 390, "partial": 39}.get(state, 0) for state in states],
            "state": states,
            "reason": ["" if state == "complete" else "9 never asked for" for state in states],
        }
    )


def test_a_gap_report_is_a_cell_a_day_that_says_why():
    heat, *legend = plots.coverage(gap_report(["complete", "partial", "missing"])).data

    assert heat.y == ("FUT:ES:20261218",)
    assert heat.x == ("2026-11-16", "2026-11-17", "2026-11-18")
    assert len(set(heat.z[0])) == 3
    assert heat.text[0].tolist() == ["", "10%", ""]
    assert "9 never asked for" in heat.customdata[0][1]
    assert "39 of 390 bars stored" in heat.customdata[0][1]
    assert [one.name for one in legend] == ["stored", "partly missing", "missing"]


def test_a_day_that_an_instrument_did_not_trade_is_no_cell():
    both = gap_report(["complete", "missing"])
    other = gap_report(["complete"]).assign(instrument="AAPL")

    heat = plots.coverage(pd.concat([both, other])).data[0]

    assert heat.y == ("FUT:ES:20261218", "AAPL")
    assert np.isnan(heat.z[1][1])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.coverage(gap_report([])), "no days"),
        (lambda: plots.price(bars().iloc[:0]), "no bars"),
        (lambda: plots.coverage(coverage_table([]).iloc[:0]), "store is empty"),
        (lambda: plots.volume_profile(bars(volume=False)), "no volume"),
        (lambda: plots.returns(bars(n=5, days=1)), "too few"),
    ],
)
def test_nothing_to_draw_is_an_error_in_words(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


@pytest.mark.parametrize(
    "figure",
    [
        plots.price(bars()),
        plots.price(bars(days=1)),
        plots.performance({"A": bars()}),
        plots.volume_profile(bars()),
        plots.returns(bars()),
    ],
    ids=["line", "candles", "performance", "profile", "returns"],
)
def test_every_figure_has_the_one_look_a_title_labels_and_a_description(figure):
    layout = json.loads(figure.to_json())["layout"]

    assert layout["template"]["layout"]["colorway"] == list(look.COLOURS)
    assert layout["title"]["text"]
    assert layout["xaxis"]["title"]["text"]
    assert layout["yaxis"]["title"]["text"]
    assert layout["meta"]["description"].endswith(".")
    assert layout["template"]["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
