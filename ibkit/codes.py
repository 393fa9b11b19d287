"""What IB's message codes mean: one table of code, kind, cause and fix.

Codes and wording: https://interactivebrokers.github.io/tws-api/message_codes.html, and what users
met. Errors take their class and their hint from here, `ibkit explain` prints a row. Not here: the
classes themselves (`errors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

Kind = Literal[
    "connection",
    "farm",
    "pacing",
    "limit",
    "permission",
    "unknown contract",
    "no data",
    "cancelled",
    "bad request",
    "order refused",
    "order warning",
    "subscription",
    "notice",
]


@dataclass(frozen=True, slots=True)
class Code:
    """One meaning of one code.

    Attributes
    ----------
    code : int
        IB's number.
    kind : str
        What sort of trouble it is.
    cause, fix : str
        Why IB says so; what helps. An empty fix: nothing needs to be done.
    words : str
        Part of IB's text, lower case, that tells this meaning from others of the code.
    """

    code: int
    kind: Kind
    cause: str
    fix: str = ""
    words: str = ""


_SUBSCRIBE: Final = (
    "Client Portal > Settings > Market Data Subscriptions; delayed data needs reqMarketDataType(3)."
)
_FARM_BACK: Final = "wait: IB reconnects it, and the kit asks again for streams that stay silent."
_COMES_BACK: Final = "wait: the kit reconnects by itself; kit.while_away() says what was missed."
_ORDER_GONE: Final = "look at kit.orders.open(); the order may be done already."

CODES: Final[tuple[Code, ...]] = (
    # --- too much, too fast ---
    Code(100, "pacing", "more messages in a second than IB takes (half the market data lines)",
         "send fewer; the kit's own gate keeps below it, other programs on this id do not."),
    Code(101, "limit", "all market data lines are in use, in TWS and by the API together",
         "end some subscriptions, or buy a quote booster pack."),
    Code(102, "bad request", "this request id is in use",
         "use a new id; kit.ib numbers by itself."),
    Code(103, "order refused", "this order id was used before",
         "reconnect, so that IB gives the next valid id; TWS can also reset its order ids."),
    Code(104, "order refused", "the order is filled, so it cannot be changed", _ORDER_GONE),
    Code(105, "order refused", "a change must keep instrument, side and account of the order",
         "cancel it and place a new one."),
    Code(106, "order refused", "IB could not pass the order on",
         "ask for open orders, then decide."),
    Code(107, "order refused", "fields that this order type needs are empty",
         "fill in the price or quantity that is missing."),
    Code(109, "order refused", "the price is further from the market than the TWS presets allow",
         "check the price; the limit is in TWS's order presets, under Percentage."),
    Code(110, "order refused", "the price is not on the instrument's tick grid",
         "round it to the grid: kit.contracts.tick_rule(contract) knows it."),
    Code(111, "order refused", "this time in force does not go with this order type",
         "use DAY, or another order type."),
    Code(113, "order refused", "orders on the close are for the day",
         "set the time in force to DAY."),
    Code(116, "order refused", "the exchange takes no orders now",
         "wait for it, or route elsewhere."),
    Code(133, "order refused", "IB could not submit the order",
         "ask for open orders, then decide."),
    Code(134, "order refused", "IB could not change the order",
         "ask for open orders, then decide."),
    Code(135, "order refused", "IB knows no order with this id, or another client placed it",
         "change an order from the client id that placed it."),
    Code(136, "order refused", "this order can no longer be cancelled", _ORDER_GONE),
    Code(145, "order refused", "a field of the order is not valid", "IB's text names the field."),
    Code(147, "order refused", "a condition names its instrument incompletely",
         "give conId and exchange of the condition."),
    Code(161, "order refused", "the order is not in a state that can be cancelled", _ORDER_GONE),
    # --- history ---
    Code(162, "pacing", "more historical requests than IB's windows allow",
         "wait; requests for bars of 30 secs or less are limited to 60 in 10 minutes.",
         "pacing violation"),
    Code(162, "no data", "IB has nothing for this instrument and span",
         "no trades in that span, or the instrument did not exist yet.", "no data"),
    Code(162, "cancelled", "the request was cancelled before it was answered", "",
         "query cancelled"),
    Code(162, "permission", "the account may not have these data", _SUBSCRIBE, "permission"),
    Code(162, "permission", "another session of this login has the data", "close that session.",
         "different ip address"),
    Code(162, "pacing", "more historical requests are open than IB allows (50 of a login)",
         "wait until some are answered; the kit's own ledger keeps below it.", "simultaneous"),
    Code(162, "bad request", "IB has no such bars of this kind of instrument",
         "take another what_to_show: MIDPOINT for currencies and CFDs, TRADES for indices.",
         "no historical market data for"),
    Code(162, "bad request", "the request asks for too much at once",
         "ask for less; history.bars() splits a span by itself.", "time length exceed"),
    Code(162, "bad request", "IB's data service refused the request", "IB's text says why."),
    Code(165, "notice", "a note of IB's historical data service"),
    Code(166, "bad request", "expired instruments need includeExpired", "set it on the contract."),
    Code(366, "cancelled", "IB works on no historical request of this id: it ended before"),
    # --- contracts ---
    Code(200, "unknown contract", "no instrument matches the description, or more than one does",
         "check symbol, exchange and currency; 'AAPL@LSE:GBP' names both."),
    Code(203, "permission", "this account may not trade the instrument",
         "ask for the permission in Client Portal, or take another product."),
    # --- orders ---
    Code(201, "order refused", "IB or the exchange rejected the order", "IB's text says why."),
    Code(202, "order refused", "the order was cancelled, by us, IB or the exchange"),
    Code(309, "limit", "all market depth subscriptions are in use (3 of them for 100 lines)",
         "end one; more lines allow more."),
    Code(300, "bad request", "IB knows no subscription of this id: it ended before"),
    Code(310, "bad request", "IB knows no depth subscription of this id: it ended before"),
    Code(312, "order refused", "the details of the combo are not valid", "check legs and ratios."),
    Code(313, "order refused", "the details of a combo's leg are not valid",
         "check legs and ratios."),
    Code(314, "order refused", "a combo needs smart routing or one exchange for all legs",
         "set the exchange of the combo and of its legs."),
    Code(315, "order refused", "the combo's legs cannot be traded together",
         "check legs and ratios."),
    Code(316, "subscription", "trading, and with it the order book, was halted",
         "subscribe again when trading goes on."),
    Code(317, "subscription", "the order book is sent anew from here"),
    Code(319, "bad request", "there is no such log level", "1 to 5."),
    Code(320, "bad request", "IB could not read the request",
         "report it: the frame was malformed."),
    Code(321, "bad request", "the API is switched to read-only in TWS or IB Gateway",
         "untick Read-Only API in the gateway's API settings, if you want to trade.", "read-only"),
    Code(321, "bad request", "IB found a field that is not valid", "IB's text names it."),
    Code(322, "pacing", "more historical requests are open than IB allows (50 of a login)",
         "wait until some are answered; the kit's own ledger keeps below it.", "simultaneous"),
    Code(322, "bad request", "IB could not process the request", "IB's text says why."),
    Code(326, "connection", "another program is connected with this client id",
         "close it, or connect with another client_id=."),
    Code(327, "bad request", "only client id 0 may take over orders of TWS",
         "connect with client_id=0."),
    Code(329, "order refused", "an order cannot become one of this type",
         "cancel it, place a new one."),
    Code(334, "order refused", "the good-till date is not valid", "yyyymmdd hh:mm:ss and a zone."),
    Code(337, "bad request", "IB cannot read a date, a time or a zone",
         "yyyymmdd-hh:mm:ss is UTC."),
    Code(391, "bad request", "IB cannot read a date, a time or a zone",
         "yyyymmdd-hh:mm:ss is UTC."),
    Code(354, "permission", "the account has no subscription for these data", _SUBSCRIBE),
    Code(355, "order refused", "the size does not fit the instrument's size rule",
         "use a multiple of the size increment."),
    Code(365, "bad request", "IB knows no scanner subscription of this id: it ended before"),
    Code(382, "order refused", "the price breaks the limits of the precautionary settings",
         "check the price; the limits are in TWS's order presets."),
    Code(383, "order refused", "the size breaks the limits of the precautionary settings",
         "check the quantity; the limits are in TWS's order presets."),
    Code(385, "bad request", "this scanner id is in use", "use a new id."),
    Code(386, "bad request", "this historical request id is in use", "use a new id."),
    Code(387, "order refused", "this exchange does not take this order type for this instrument",
         "see orderTypes in the contract's details."),
    Code(388, "order refused", "the quantity is below the smallest one", "order more."),
    Code(392, "order refused", "the contract has expired", "choose a later expiry."),
    Code(399, "order warning", "a note on the order, for instance that it waits for the open"),
    Code(404, "order warning", "IB looks for shares to borrow; the short sale is held meanwhile",
         "wait, or cancel it; kit.ib.reqMktData(…, '236') shows what can be borrowed."),
    Code(413, "bad request", "a what-if order needs transmit=True", "set it; nothing is sent."),
    Code(414, "bad request", "a snapshot takes no generic ticks", "subscribe, or drop the list."),
    Code(420, "permission", "real-time bars of this instrument are refused", _SUBSCRIBE),
    Code(430, "no data", "there are no such fundamentals of this company"),
    Code(434, "order refused", "the size is zero", "give a quantity."),
    Code(435, "order refused", "the login has several accounts, and the order names none",
         "connect(…, account=…) says which one trades."),
    Code(443, "order refused", "the algo has no such parameter", "see IB's page on this algo."),
    Code(460, "order refused", "the account has no permission to trade this",
         "ask for it in Client Portal."),
    Code(478, "order refused", "the parameters of the combo do not fit together",
         "check the legs."),
    Code(492, "bad request", "this data service is not available for the request"),
    Code(585, "bad request", "IB has given up allocation profiles", "use a group instead."),
    # --- the connection ---
    Code(502, "connection", "nothing answers at that address", "start TWS or IB Gateway there."),
    Code(504, "connection", "there is no connection", _COMES_BACK),
    Code(1100, "connection", "TWS or the gateway lost IB's servers; our socket is fine",
         _COMES_BACK),
    Code(1101, "connection",
         "IB's servers are back; subscriptions were lost and are asked for again"),
    Code(1102, "connection", "IB's servers are back; subscriptions go on"),
    Code(1300, "connection", "the gateway's port was changed in its settings",
         "put the new port into ibkit.toml, or add it to the profile's fallbacks."),
    Code(2100, "subscription", "another program asked for this account's data; ours ended",
         "let one program ask for account updates."),
    Code(2101, "subscription", "other clients are subscribed to another account's data",
         "let all of them ask for the same account."),
    Code(2102, "order warning", "the order is still being processed and cannot be changed yet",
         "wait for its next status."),
    Code(2103, "farm", "a market data farm is disconnected", _FARM_BACK),
    Code(2104, "farm", "a market data farm is connected"),
    Code(2105, "farm", "a historical data farm is disconnected", _FARM_BACK),
    Code(2106, "farm", "a historical data farm is connected"),
    Code(2107, "farm", "a historical data farm sleeps until it is asked"),
    Code(2108, "farm", "a market data farm sleeps until it is asked"),
    Code(2109, "order warning", "'outside regular hours' means nothing for this order"),
    Code(2110, "connection", "TWS lost its server and reconnects by itself", _COMES_BACK),
    Code(2119, "farm", "a data farm is being connected"),
    Code(2137, "order warning", "the order would trade against a position of the other side",
         "confirm it in TWS, or tick 'Bypass Order Precautions for API Orders'."),
    Code(2150, "notice", "the position is of another trading class than the one asked for"),
    Code(2152, "permission", "depth of some exchanges is missing: they need a subscription",
         _SUBSCRIBE),
    Code(2157, "farm", "the farm of instrument definitions is disconnected", _FARM_BACK),
    Code(2158, "farm", "the farm of instrument definitions is connected"),
    Code(2174, "notice", "a time without a zone was taken in the zone of the gateway",
         "say the zone: 'yyyymmdd hh:mm:ss UTC'."),
    # --- the long numbers ---
    Code(10006, "order refused", "the parent order is not known", "place the parent first."),
    Code(10089, "permission", "these data need a subscription to more of the exchange", _SUBSCRIBE),
    Code(10090, "permission", "part of these data is not subscribed to", _SUBSCRIBE),
    Code(10147, "order refused", "IB knows no order with this id", _ORDER_GONE),
    Code(10148, "order refused", "the order is in a state that cannot be cancelled", _ORDER_GONE),
    Code(10167, "notice", "live data are not subscribed to; delayed ones are shown"),
    Code(10168, "permission", "neither live nor delayed data are available", _SUBSCRIBE),
    Code(10172, "bad request", "there is no such news article", "take the id from a headline."),
    Code(10174, "bad request", "historical news cannot be had so",
         "kit.ib.reqNewsProviders() names them."),
    Code(10185, "bad request", "there was no such PnL subscription to cancel"),
    Code(10186, "permission", "these data are not subscribed to, and delayed ones are off",
         _SUBSCRIBE),
    Code(10187, "no data", "IB has no ticks for this instrument and span",
         "no trades in that span, or it is more than three years ago.", "no data"),
    Code(10187, "permission", "historical ticks need a subscription to the live data", _SUBSCRIBE),
    Code(10189, "permission", "tick-by-tick data are refused for this instrument", _SUBSCRIBE),
    Code(10190, "limit", "all tick-by-tick subscriptions are in use (5 of them for 100 lines)",
         "end one; more lines allow more."),
    Code(10197, "permission", "another session of this login has the market data",
         "close TWS, the phone app or the portal session; IB gives live data to one at a time."),
    Code(10225, "subscription", "a trade was taken back; the bars are asked for again"),
    Code(10243, "order refused", "parts of a unit cannot be traded here", "order whole units."),
    Code(10244, "order refused", "an amount of cash cannot be ordered here", "order units."),
    Code(10255, "order refused", "the display size does not fit the order",
         "check the display size."),
    Code(10268, "order refused", "IB has given up the attribute eTradeOnly", "set it to False."),
    Code(10269, "order refused", "IB has given up the attribute firmQuoteOnly", "set it to False."),
    Code(10270, "order refused", "IB has given up the attribute nbboPriceCap", "leave it empty."),
    Code(10276, "permission", "this news feed is not subscribed to", _SUBSCRIBE),
    Code(10282, "bad request", "Wall Street Horizon's metadata must be asked for first",
         "call reqWshMetaData before reqWshEventData."),
    Code(10283, "bad request", "a request for events is open already", "wait for its answer."),
    Code(10289, "order refused", "this order needs an amount of cash", "set cashQty."),
    Code(10299, "bad request", "trades of coins go by another word",
         "what_to_show='AGGTRADES'."),
    Code(10309, "bad request", "events of a list need a conId", "give the conId."),
    Code(10314, "bad request", "IB cannot read a start or an end", "yyyymmdd-hh:mm:ss is UTC."),
    Code(10339, "bad request", "a continuous future takes no end date", "leave endDateTime empty."),
    Code(10349, "order warning",
         "the gateway's preset filled in the time in force; the order works",
         "give tif= yourself."),
    Code(10358, "permission", "fundamental data are not subscribed to", _SUBSCRIBE),
)  # fmt: skip


def meanings(code: int) -> list[Code]:
    """Return what a code may mean; none for one that is not in the table.

    >>> [each.kind for each in meanings(326)]
    ['connection']
    """
    return [each for each in CODES if each.code == code]


def find(code: int, text: str = "") -> Code | None:
    """Return what a code means where it came with `text`; None if it is not in the table.

    >>> find(162, "HMDS query returned no data: AAPL").kind
    'no data'
    """
    known = meanings(code)
    return next((each for each in known if each.words in text.lower()), None)


def nearest(code: int) -> list[int]:
    """Return codes that look like `code`, for who mistyped one."""
    known = dict.fromkeys(str(each.code) for each in CODES)
    return [int(each) for each in get_close_matches(str(code), known, n=3)]
