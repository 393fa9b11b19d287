"""The planner of IB's limits against a model that counts naively."""

from hypothesis import given
from hypothesis import strategies as st

from ibkit.connection.budget import NEVER, Ask, Books, Charge, free_at, holds, plan_round
from ibkit.connection.pacing import Limit

LIMITS = {
    limit.what: limit
    for limit in (
        Limit("same", 1, 15, "", each="request"),
        Limit("hot", 3, 2, "", 1, "contract"),
        Limit("all", 6, 60, "", 2),
        Limit("open", 2, 0, ""),
    )
}
KEYS = {"same": ("a", "b"), "hot": ("x", "y"), "all": ("",), "open": ("",)}
charges = st.sampled_from(list(KEYS)).flatmap(
    lambda rule: st.builds(
        Charge,
        st.just(rule),
        st.sampled_from(KEYS[rule]),
        st.just(1) if rule == "same" else st.integers(1, 2),
    )
)
asks = st.lists(charges, max_size=4, unique_by=lambda charge: charge.rule).map(
    lambda found: Ask("request", tuple(found))
)
sent = st.lists(
    st.tuples(charges.filter(lambda charge: charge.rule != "open"), st.integers(0, 100)),
    max_size=25,
)


def fits(charge, history, held, now):
    """Whether the model lets a charge go at `now`: it adds up what is in the window."""
    limit = LIMITS[charge.rule]
    page = [(at, one.cost) for one, at in history if one[:2] == charge[:2]]
    if limit.window_s:
        used = sum(cost for at, cost in page if at + limit.window_s + limit.margin_s > now)
    else:
        used = held
    return used + charge.cost <= limit.most


def books_of(history, held=0):
    rows = [(one.rule, one.key, float(at), one.cost) for one, at in history]
    return Books.of(rows, [("open", "", held)] if held else [])


@given(asks, sent, st.integers(0, 3), st.integers(100, 200))
def test_an_ask_may_go_exactly_when_the_model_says_so(ask, history, held, now):
    found = holds(ask, books_of(history, held), LIMITS, now)

    assert (not found) == all(fits(charge, history, held, now) for charge in ask.charges)


@given(charges.filter(lambda charge: charge.rule != "open"), sent)
def test_the_instant_is_the_first_at_which_the_model_lets_it_go(charge, history):
    limit, now = LIMITS[charge.rule], 100
    times = books_of(history).sent.get(charge[:2], [])

    at = free_at(times, limit, charge.cost)

    first = next(t for t in range(now, 1_000) if fits(charge, history, 0, t))
    assert max(at, now) == first


def test_what_asks_for_more_than_there_ever_is_never_goes_and_stands_in_nobodys_way():
    greedy = Ask("greedy", (Charge("open", "", 3),))
    modest = Ask("modest", (Charge("open", "", 1),))

    done = plan_round([greedy, modest], Books(), LIMITS, 0)

    assert done.held[0].at == NEVER
    assert done.granted == [1]


@given(st.lists(asks, max_size=12), sent, st.integers(0, 3))
def test_a_round_breaks_no_rule_wastes_no_room_and_lets_nobody_overtake(queue, history, held):
    now = 110
    books = books_of(history, held)

    done = plan_round(queue, books, LIMITS, now)

    gone, taken, waiting = list(history), held, set()
    for place, ask in enumerate(queue):
        free = [fits(charge, gone, taken, now) for charge in ask.charges]
        ahead = [charge[:2] in waiting for charge in ask.charges]
        if place in done.granted:
            assert all(free)
            assert not any(ahead)
            gone += [(charge, now) for charge in ask.charges]
            taken += sum(charge.cost for charge in ask.charges if charge.rule == "open")
        else:
            assert not all(free) or any(ahead)
            if not any(ahead):
                waiting |= {
                    charge[:2]
                    for charge, fit in zip(ask.charges, free, strict=True)
                    if not fit and charge.cost <= LIMITS[charge.rule].most
                }
    assert sorted([*done.granted, *done.held]) == list(range(len(queue)))


@given(st.lists(st.tuples(st.integers(0, 40), asks), max_size=30))
def test_a_day_at_the_planner_serves_everybody_and_never_breaks_a_rule(arrivals):
    """Ask by ask on a clock of whole seconds; open requests last three of them."""
    coming, queue, gone, now = sorted(arrivals, key=lambda one: one[0]), [], [], 0
    while coming or queue:
        queue += [ask for at, ask in coming if at == now]
        coming = [one for one in coming if one[0] != now]
        held = sum(c.cost for c, at in gone if c.rule == "open" and at + 3 > now)
        history = [one for one in gone if one[0].rule != "open"]
        done = plan_round(queue, books_of(history, held), LIMITS, now)
        for place in done.granted:
            gone += [(charge, now) for charge in queue[place].charges]
        queue = [ask for place, ask in enumerate(queue) if place in done.held]
        now += 1
        assert now < 2_000, "somebody starves"

    for (rule, key), limit in {(r, k): LIMITS[r] for r in KEYS for k in KEYS[r]}.items():
        times = [(at, c.cost) for c, at in gone if c[:2] == (rule, key)]
        span = limit.window_s + limit.margin_s if limit.window_s else 3
        for start, _ in times:
            assert sum(cost for at, cost in times if start <= at < start + span) <= limit.most
