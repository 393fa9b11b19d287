"""The exchange under any sequence of orders of all kinds, changed and cancelled at any moment.

A state machine places, changes, cancels and waits; after every step the promises are looked at.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ibkit.sim.account import Account
from ibkit.sim.combos import combination
from ibkit.sim.exchange import Commission, Exchange, Execution, OrderRequest, OrderState
from ibkit.sim.market import Market
from ibkit.sim.orders import Leg
from ibkit.sim.screen import Quote
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()
UNIVERSE = Universe.load()
CALENDAR = Market(UNIVERSE)
APPLE, MSFT = UNIVERSE.by_con_id(265598), UNIVERSE.by_con_id(272093)
ES = UNIVERSE.chain("ES", date(2026, 12, 1), date(2026, 12, 31))[0]
EURO = UNIVERSE.by_con_id(12087792)
ZERO = Decimal(0)
TERMINAL = {"Filled", "Cancelled", "Inactive"}
EXACT = Decimal("1e-12")


def walk():
    rng, price, path = Random(7), 400, []
    for _ in range(2000):
        price = max(200, price + rng.choice([-3, -1, -1, 0, 0, 1, 1, 3]))
        path.append(price / 4)
    return path


class Restless:
    """A market that jumps every second, the same way for everybody."""

    universe, path = UNIVERSE, walk()

    def quote(self, instrument, at):
        n = int(at - NOW)
        last = self.path[n % 2000]
        size = 20.0 + 37 * (n * 31 % 11)
        return Quote(
            last - 0.25, last + 0.25, last, size, size, 50.0, 1e6 + n, 100.0, 120.0, 90.0, 100.0,
            int(at),
        )  # fmt: skip

    def bars(self, *_):
        raise LookupError

    def is_open(self, instrument, at, *, use_rth=False):
        return CALENDAR.is_open(instrument, at, use_rth=use_rth)

    def sessions(self, instrument, first, last, use_rth=True):  # noqa: FBT002  IB's field
        return CALENDAR.sessions(instrument, first, last, use_rth)


KINDS = (
    *("LMT", "MKT", "STP", "STP LMT", "TRAIL", "TRAIL LIMIT", "MIT", "LIT"),
    *("REL", "PEG MID", "PEG MKT", "MTL", "MOC", "LOC"),
)
plain = st.fixed_dictionaries(
    {
        "client_id": st.integers(1, 2),
        "kind": st.sampled_from(KINDS),
        "instrument": st.sampled_from([APPLE, MSFT, ES, EURO]),
        "action": st.sampled_from(["BUY", "SELL"]),
        "quantity": st.sampled_from([1, 7, 100, 250, 20_000]),
        "away": st.integers(-12, 12),
        "tif": st.sampled_from(["DAY", "GTC", "IOC", "FOK", "OPG"]),
        "extra": st.sampled_from(
            [
                {},
                {},
                {"oca_group": "a", "oca_type": 1},
                {"oca_group": "b", "oca_type": 2},
                {"oca_group": "c", "oca_type": 3},
                {"display_size": 1},
                {"all_or_none": True},
                {"min_qty": 5},
                {"hidden": True},
                {"algo_strategy": "Twap"},
            ]
        ),
    }
)


class Machine(RuleBasedStateMachine):
    """Clients at work, and everything that was told."""

    def __init__(self):
        super().__init__()
        self.account = Account(cash=10**9)
        self.exchange = Exchange(UNIVERSE, Restless(), self.account)
        self.now = NOW
        self.numbers = Counter()
        self.placed = {}
        self.ended = {}
        self.executions, self.charged = Counter(), Counter()
        self.traded = defaultdict(set)

    def tell(self, events):
        for one in events:
            if isinstance(one, OrderState):
                order = one.order
                assert self.ended.get(order.perm_id, order.status) == order.status
                if order.status in TERMINAL:
                    self.ended[order.perm_id] = order.status
            elif isinstance(one, Execution):
                self.executions[one.fill.exec_id] += 1
                self.traded[int(one.fill.time)].add(one.order.perm_id)
                limit = one.order.limit or one.order.request.lmt_price
                limited = one.order.request.kind in {"LMT", "STP LMT", "LIT", "LOC", "PEG MID"}
                if limited and not one.order.request.legs:
                    assert (one.fill.price - limit) * one.fill.sign <= 0
            elif isinstance(one, Commission):
                self.charged[one.fill.exec_id] += 1

    def request(self, wish, **more):
        level = Decimal(str(self.exchange.market.quote(APPLE, self.now).last))
        price = level + Decimal(wish["away"]) / 4
        kind = wish["kind"]
        trail = kind.startswith("TRAIL")
        self.numbers[wish["client_id"]] += 1
        return OrderRequest(
            wish["client_id"],
            self.numbers[wish["client_id"]],
            wish["instrument"],
            wish["action"],
            Decimal(wish["quantity"]),
            kind,
            price if kind in {"LMT", "STP LMT", "TRAIL LIMIT", "LIT", "LOC"} else None,
            Decimal(1) if trail else price if kind in {"STP", "STP LMT", "MIT", "LIT"} else None,
            tif=wish["tif"],
            **{**wish["extra"], **more},
        )

    def place(self, request):
        self.placed[request.key] = request
        self.tell(self.exchange.place(request, self.now))

    @rule(wish=plain)
    def order(self, wish):
        self.place(self.request(wish))

    @rule(wish=plain, first=st.booleans())
    def bracket(self, wish, first):
        wish = {**wish, "extra": {}, "tif": "GTC"}
        entry = self.request({**wish, "kind": "LMT" if first else "MKT"}, transmit=False)
        exits = {**wish, "action": "SELL" if wish["action"] == "BUY" else "BUY"}
        target = self.request({**exits, "kind": "LMT"}, parent_id=entry.order_id, transmit=False)
        stop = self.request({**exits, "kind": "STP"}, parent_id=entry.order_id)
        for one in (entry, target, stop):
            self.place(one)

    @rule(sign=st.sampled_from(["BUY", "SELL"]), away=st.integers(-8, 8))
    def combo(self, sign, away):
        legs = (Leg(APPLE, 1, "BUY"), Leg(MSFT, 2, "SELL"))
        bag = combination(legs, "", "SMART")
        level = Decimal(str(self.exchange.market.quote(APPLE, self.now).last))
        wish = {
            "client_id": 1, "kind": "LMT", "instrument": bag, "action": sign, "quantity": 20,
            "away": 0, "tif": "GTC", "extra": {"legs": legs},
        }  # fmt: skip
        self.place(replace(self.request(wish), lmt_price=-level + Decimal(away) / 4))

    @rule(
        pick=st.integers(0, 99), away=st.integers(-12, 12), quantity=st.sampled_from([3, 90, 400])
    )
    def change(self, pick, away, quantity):
        working = self.exchange.working()
        if working:
            request = working[pick % len(working)].request
            price = request.lmt_price and request.lmt_price + Decimal(away) / 4
            self.tell(
                self.exchange.place(
                    replace(request, lmt_price=price, quantity=Decimal(quantity)), self.now
                )
            )

    @rule(client=st.integers(1, 2), number=st.integers(1, 30))
    def cancel(self, client, number):
        self.tell(self.exchange.cancel(client, number, self.now))

    @rule()
    def cancel_all(self):
        self.tell(self.exchange.cancel_all(self.now))

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds):
        for _ in range(seconds):
            self.now += 1
            waiting = self.exchange.working()
            self.tell(self.exchange.tick(self.now))
            self.check_priority(waiting)

    def check_priority(self, waiting):
        """A better or older plain limit has traded in this second too, or is gone."""
        second = int(self.now)
        simple = [
            one
            for one in waiting
            if one.live and one.request.kind == "LMT" and not _choosy(one.request)
        ]
        still = {one.perm_id: one for one in self.exchange.working()}
        for worse in simple:
            if worse.perm_id not in self.traded[second]:
                continue
            for better in simple:
                if better.perm_id in still and _first(better, worse):
                    assert better.perm_id in self.traded[second]

    @invariant()
    def nothing_is_filled_beyond_its_size_and_each_fill_is_told_and_charged_once(self):
        filled = Counter()
        for fill in self.exchange.executions():
            if fill.exec_id.count(".") == 3:  # of the order itself, not of a leg
                filled[fill.perm_id] += fill.shares
            bag = fill.instrument.sec_type == "BAG"
            assert self.executions[fill.exec_id] == 1
            assert self.charged[fill.exec_id] == (0 if bag else 1)
        for one in self.exchange.completed() + self.exchange.working():
            assert filled[one.perm_id] == one.filled <= one.request.quantity
        assert len(self.executions) == len(self.exchange.executions())

    @invariant()
    def no_order_is_in_two_states(self):
        working = {one.perm_id for one in self.exchange.working()}
        completed = {one.perm_id: one.status for one in self.exchange.completed()}
        assert not working & set(completed)
        assert completed == self.ended
        assert all(status in TERMINAL for status in completed.values())

    @invariant()
    def children_live_after_their_parents_have_filled(self):
        done = {one.request.key: one for one in self.exchange.completed()}
        for child in self.exchange.working() + self.exchange.completed():
            if child.request.parent_id and (child.live or child.filled):
                parent = done[child.request.client_id, child.request.parent_id]
                assert parent.status == "Filled"

    @invariant()
    def cash_and_positions_are_conserved(self):
        cash = defaultdict(Decimal, USD=Decimal(10**9))
        held, paid = Counter(), defaultdict(Decimal)
        for fill in self.exchange.executions():
            one, signed = fill.instrument, fill.shares * fill.sign
            if one.sec_type == "BAG":
                continue
            money = signed * fill.price * one.point_value
            held[one.con_id] += signed
            paid[one.con_id] += money + fill.commission
            cash[fill.currency] -= fill.commission
            cash[one.currency] -= ZERO if one.sec_type == "FUT" else money
            if one.sec_type == "CASH":
                cash[one.symbol] += signed
        for position in self.account.positions():
            one = position.instrument
            assert position.quantity == held[one.con_id]
            assert abs(position.basis - paid[one.con_id] - position.realized) < EXACT
            if one.sec_type == "FUT":
                gross = position.realized + self.futures_fees(one) - position.fees
                cash[one.currency] += gross
        for currency, amount in self.account.cash.items():
            assert abs(amount - cash[currency]) < EXACT

    def futures_fees(self, one):
        fills = self.exchange.executions()
        return sum((f.commission for f in fills if f.instrument.con_id == one.con_id), ZERO)


def _choosy(request):
    return bool(
        request.display_size or request.all_or_none or request.min_qty or request.algo_strategy
    )


def _first(better, worse):
    one, other = better.request, worse.request
    if (one.instrument.con_id, one.action) != (other.instrument.con_id, other.action):
        return False
    if one.oca_group or other.oca_group or better.oca_group or worse.oca_group:
        return False
    gain = (one.lmt_price - other.lmt_price) * one.sign
    return gain > 0 or (gain == 0 and better.placed_at < worse.placed_at and not one.hidden)


def test_a_child_let_out_by_a_fill_may_take_what_the_sweep_was_about_to_take():
    machine = Machine()
    wish = {"client_id": 1, "instrument": APPLE, "away": 0}

    machine.bracket(wish={**wish, "action": "SELL", "quantity": 1}, first=True)
    machine.bracket(wish={**wish, "action": "SELL", "quantity": 1}, first=True)
    machine.bracket(wish={**wish, "action": "BUY", "quantity": 7}, first=False)  # meets both

    assert max(machine.executions.values()) == 1
    machine.nothing_is_filled_beyond_its_size_and_each_fill_is_told_and_charged_once()
    machine.no_order_is_in_two_states()
    machine.cash_and_positions_are_conserved()


def test_a_group_member_that_ended_with_another_is_not_revived():
    machine = Machine()
    wish = {"client_id": 1, "kind": "LMT", "instrument": APPLE, "action": "BUY", "tif": "DAY"}
    wish["extra"] = {"oca_group": "b", "oca_type": 2}

    for quantity in (1, 7):  # rest, too small and large enough to be reduced
        machine.order(wish={**wish, "away": -8, "quantity": quantity})
    machine.order(wish={**wish, "away": 1, "quantity": 20_000})  # fills in part

    machine.no_order_is_in_two_states()


TestExchange = Machine.TestCase
TestExchange.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


class Groups(RuleBasedStateMachine):
    """Groups of which one cancels the others, under a moving market."""

    def __init__(self):
        super().__init__()
        self.exchange = Exchange(UNIVERSE, Restless(), Account(cash=10**9))
        self.now, self.number = NOW, 0

    @rule(
        oca_type=st.sampled_from([1, 2, 3]),
        sizes=st.lists(st.sampled_from([1, 40, 100, 900]), min_size=2, max_size=4),
        away=st.lists(st.integers(0, 12), min_size=4, max_size=4),
        action=st.sampled_from(["BUY", "SELL"]),
    )
    def group(self, oca_type, sizes, away, action):
        name, sign = f"g{self.number}", 1 if action == "BUY" else -1
        level = Decimal(str(self.exchange.market.quote(APPLE, self.now).last))
        for size, distance in zip(sizes, away, strict=False):
            self.number += 1
            price = level - sign * (Decimal(distance) / 4 + 1)
            self.exchange.place(
                OrderRequest(
                    1, self.number, APPLE, action, Decimal(size), "LMT", price, tif="GTC",
                    oca_group=name, oca_type=oca_type, order_ref=f"{size}",
                ),
                self.now,
            )  # fmt: skip

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds):
        for _ in range(seconds):
            self.now += 1
            self.exchange.tick(self.now)

    @invariant()
    def a_group_never_fills_more_than_one_whole_member(self):
        shares = defaultdict(Decimal)
        traded = defaultdict(set)
        for one in self.exchange.working() + self.exchange.completed():
            shares[one.oca_group] += one.filled / Decimal(one.request.order_ref)
            if one.filled and one.oca_type == 1:
                traded[one.oca_group].add(one.perm_id)
        assert all(share <= 1 + EXACT for share in shares.values())
        assert all(len(members) == 1 for members in traded.values())


TestGroups = Groups.TestCase
TestGroups.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
