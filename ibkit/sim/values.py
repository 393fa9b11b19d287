"""The account in IB's words: the tables of `updateAccountValue` and `accountSummary`.

Keys are those a real gateway sends, alphabetically; what this simulator does not model is 0. Not
here: the sums themselves (`account`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ibkit.sim.orders import ZERO
from ibkit.sim.worth import exchange_rate

if TYPE_CHECKING:
    from ibkit.sim.account import Account, Sums
    from ibkit.sim.worth import Prices

Row = tuple[str, str, str]  # tag, value, currency

# in each currency, and once more as BASE
LEDGER: Final = (
    "AccruedCash",
    "CashBalance",
    "CorporateBondValue",
    "ExchangeRate",
    "FundValue",
    "FutureOptionValue",
    "FuturesPNL",
    "FxCashBalance",
    "IssuerOptionValue",
    "MoneyMarketFundValue",
    "MutualFundValue",
    "NetDividend",
    "NetLiquidationByCurrency",
    "OptionMarketValue",
    "RealCurrency",
    "RealizedPnL",
    "StockMarketValue",
    "TBillValue",
    "TBondValue",
    "TotalCashBalance",
    "UnrealizedPnL",
    "WarrantValue",
    "Cryptocurrency",
    "Currency",
    "AccountOrGroup",
)
# in the base currency: the whole, and its parts for commodities (-C) and securities (-S)
IN_PARTS: Final = (
    "AccruedCash",
    "AccruedDividend",
    "AvailableFunds",
    "EquityWithLoanValue",
    "ExcessLiquidity",
    "FullAvailableFunds",
    "FullExcessLiquidity",
    "FullInitMarginReq",
    "FullMaintMarginReq",
    "Guarantee",
    "IndianStockHaircut",
    "InitMarginReq",
    "LookAheadAvailableFunds",
    "LookAheadExcessLiquidity",
    "LookAheadInitMarginReq",
    "LookAheadMaintMarginReq",
    "MaintMarginReq",
    "NetLiquidation",
    "PASharesValue",
    "PhysicalCertificateValue",
    "PostExpirationExcess",
    "PostExpirationMargin",
    "TotalCashValue",
    "TotalDebitCardPendingCharges",
)
# in the base currency, as they are
PLAIN: Final = (
    "BuyingPower",
    "GrossPositionValue",
    "IncentiveCoupons",
    "NetLiquidationUncertainty",
    "PreviousDayEquityWithLoanValue",
    "RegTEquity",
    "RegTMargin",
    "SMA",
    "Billable",
    "EquityWithLoanValue-S",
)
SUMMARY: Final = (
    "AccountType",
    "AccruedCash",
    "AvailableFunds",
    "BuyingPower",
    "Cushion",
    "DayTradesRemaining",
    "DayTradesRemainingT+1",
    "DayTradesRemainingT+2",
    "DayTradesRemainingT+3",
    "DayTradesRemainingT+4",
    "EquityWithLoanValue",
    "ExcessLiquidity",
    "FullAvailableFunds",
    "FullExcessLiquidity",
    "FullInitMarginReq",
    "FullMaintMarginReq",
    "GrossPositionValue",
    "HighestSeverity",
    "InitMarginReq",
    "Leverage",
    "LookAheadAvailableFunds",
    "LookAheadExcessLiquidity",
    "LookAheadInitMarginReq",
    "LookAheadMaintMarginReq",
    "LookAheadNextChange",
    "MaintMarginReq",
    "NetLiquidation",
    "PreviousEquityWithLoanValue",
    "RegTEquity",
    "RegTMargin",
    "ReqTEquity",
    "ReqTMargin",
    "SMA",
    "SettledCash",
    "TotalCashValue",
)
WORTH: Final = ("STK", "CRYPTO", "OPT", "FOP", "BOND", "FUND", "WAR", "CMDTY", "BAG")
DIMENSIONLESS: Final = {
    "AccountType": "INDIVIDUAL",
    "DayTradesRemaining": "-1",
    "DayTradesRemainingT+1": "-1",
    "DayTradesRemainingT+2": "-1",
    "DayTradesRemainingT+3": "-1",
    "DayTradesRemainingT+4": "-1",
    "HighestSeverity": "",
    "LookAheadNextChange": "0",
}


def account_values(account: Account, market: Prices, now: float) -> list[Row]:
    """Return the rows of account updates, by key."""
    sums = account.sums(market, now)
    money = amounts(sums, account.equity_at_open(market, now))
    rows: list[Row] = [
        ("AccountCode", account.account_id, ""),
        ("AccountReady", "true", ""),
        ("AccountType", "INDIVIDUAL", ""),
        ("ColumnPrio-C", "2", ""),
        ("ColumnPrio-S", "1", ""),
        ("Cushion", _ratio(money["ExcessLiquidity"], money["NetLiquidation"]), ""),
        ("DayTradesRemaining", "-1", ""),
        ("Leverage-S", _ratio(sums.gross, money["NetLiquidation"]), ""),
        ("LookAheadNextChange", "0", ""),
        ("NLVAndMarginInReview", "false", ""),
        ("SegmentTitle-C", "US Commodities", ""),
        ("SegmentTitle-S", "US Securities", ""),
        ("TradingType-S", "STKNOPT", ""),
        ("WhatIfPMEnabled", "true", ""),
    ]
    rows += ledger(account, market, now)
    for key in IN_PARTS:
        commodities = _commodities(key, sums)
        whole = money.get(key, ZERO)
        rows.append((key, _text(whole), account.base))
        rows.append((f"{key}-C", _text(commodities), account.base))
        rows.append((f"{key}-S", _text(whole - commodities), account.base))
    rows += [(key, _text(money.get(key, ZERO)), account.base) for key in PLAIN]
    return _unique(rows)


def account_summary(account: Account, market: Prices, now: float) -> list[Row]:
    """Return the rows of an account summary by tag, then those of its ledger."""
    sums = account.sums(market, now)
    money = amounts(sums, account.equity_at_open(market, now))
    ratios = {
        "Cushion": _ratio(money["ExcessLiquidity"], money["NetLiquidation"]),
        "Leverage": _ratio(sums.gross, money["NetLiquidation"]),
    }
    plain = {**DIMENSIONLESS, **ratios}
    rows = [
        (tag, plain[tag], "") if tag in plain else (tag, _text(money.get(tag, ZERO)), account.base)
        for tag in SUMMARY
    ]
    return rows + ledger(account, market, now)


def ledger(account: Account, market: Prices, now: float) -> list[Row]:
    """Return the rows that exist once for each currency, and once for all of them as BASE."""
    rows: list[Row] = []
    whole: dict[str, Decimal] = {}
    for currency in account.currencies():
        rate = exchange_rate(market, now, currency, account.base)
        parts = _parts(account, market, now, currency)
        for key, amount in parts.items():
            whole[key] = whole.get(key, ZERO) + amount * rate
        rows += _ledger_rows(parts, rate, currency, currency)
    rows += _ledger_rows(whole, Decimal(1), "BASE", account.base)
    return sorted(rows)


def amounts(sums: Sums, began: Decimal) -> dict[str, Decimal]:
    """Return the sums under all the names that IB has for them; `began` is how the day began."""
    equity, loan_value = sums.equity, sums.loan_value
    available, excess = loan_value - sums.init_margin, loan_value - sums.maint_margin
    reg_t = sums.gross / 2
    money = {
        "NetLiquidation": equity,
        "EquityWithLoanValue": loan_value,
        "EquityWithLoanValue-S": loan_value,
        "PreviousEquityWithLoanValue": began,
        "PreviousDayEquityWithLoanValue": began,
        "TotalCashValue": sums.cash,
        "SettledCash": sums.cash,
        "GrossPositionValue": sums.gross,
        "InitMarginReq": sums.init_margin,
        "MaintMarginReq": sums.maint_margin,
        "AvailableFunds": available,
        "ExcessLiquidity": excess,
        "BuyingPower": max(ZERO, available * 4),
        "SMA": max(ZERO, equity - reg_t),
    }
    money |= dict.fromkeys(("RegTEquity", "ReqTEquity"), equity)
    money |= dict.fromkeys(("RegTMargin", "ReqTMargin"), reg_t)
    for prefix in ("Full", "LookAhead"):
        for key in ("AvailableFunds", "ExcessLiquidity", "InitMarginReq", "MaintMarginReq"):
            money[prefix + key] = money[key]
    return money


def _parts(account: Account, market: Prices, now: float, currency: str) -> dict[str, Decimal]:
    """Return what is held in one currency."""
    rows = [
        row
        for row in account.portfolio(market, now)
        if row.position.instrument.currency == currency
    ]
    kinds = {row.position.instrument.con_id: row.position.instrument.sec_type for row in rows}

    def value(*wanted: str) -> Decimal:
        found = (row for row in rows if kinds[row.position.instrument.con_id] in wanted)
        return sum((row.market_value for row in found), ZERO)

    futures = sum(
        (
            row.market_value - row.position.cost
            for row in rows
            if row.position.instrument.sec_type in {"FUT", "CFD"}
        ),
        ZERO,
    )
    cash = account.cash.get(currency, ZERO)
    return {
        "CashBalance": cash,
        "TotalCashBalance": cash,
        "StockMarketValue": value("STK"),
        "OptionMarketValue": value("OPT"),
        "FutureOptionValue": value("FOP"),
        "CorporateBondValue": value("BOND"),
        "MutualFundValue": value("FUND"),
        "Cryptocurrency": value("CRYPTO"),
        "FuturesPNL": futures,
        "UnrealizedPnL": sum((row.unrealized for row in rows), ZERO),
        "RealizedPnL": sum(
            (one.realized for one in account.positions() if one.instrument.currency == currency),
            ZERO,
        ),
        "NetLiquidationByCurrency": cash + value(*WORTH) + futures,
    }


def _ledger_rows(parts: dict[str, Decimal], rate: Decimal, currency: str, real: str) -> list[Row]:
    texts = {
        "ExchangeRate": f"{rate:.7f}".rstrip("0").ljust(4, "0"),
        "RealCurrency": real,
        "Currency": currency,
        "AccountOrGroup": currency,
    }
    return [(key, texts.get(key) or _text(parts.get(key, ZERO)), currency) for key in LEDGER]


def _commodities(key: str, sums: Sums) -> Decimal:
    """Return the commodities' part of a sum: here that is the futures' profit and loss."""
    return sums.futures_pnl if key in {"EquityWithLoanValue", "NetLiquidation"} else ZERO


def _unique(rows: list[Row]) -> list[Row]:
    """Return the rows by key and currency, each once."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        found.setdefault((row[0], row[2]), row)
    return [found[key] for key in sorted(found)]


def _text(amount: Decimal) -> str:
    return f"{amount:.2f}"


def _ratio(part: Decimal, whole: Decimal) -> str:
    return f"{part / whole:.4f}".rstrip("0").rstrip(".") if whole else "0"
