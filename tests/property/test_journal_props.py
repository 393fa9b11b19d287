"""Never two live orders for one key; the chain always verifies; final stays final."""

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from hypothesis.strategies import floats, sampled_from

from ibkit.errors import DuplicateIntentError
from ibkit.orders.journal import DONE, FOLLOWS, UNRESOLVED, Journal, Wish


class Machine(RuleBasedStateMachine):
    refs = Bundle("refs")

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "journal.sqlite"
        self.journal = Journal(self.path)
        self.keys = set()

    def teardown(self):
        self.journal.close()
        self.folder.cleanup()

    @rule(target=refs, key=sampled_from("abc"))
    def place(self, key):
        wish = Wish("AAPL", "BUY 1 MKT DAY", key, 1.0, key=key)
        try:
            intent = self.journal.intend(wish)
        except DuplicateIntentError as error:
            assert key in self.keys
            return error.order_ref
        assert key not in self.keys
        self.keys.add(key)
        return intent.order_ref

    @rule(target=refs, mark=sampled_from("xy"))
    def place_without_a_key(self, mark):
        before = [i for i in self.journal.intents() if i.fingerprint == mark]
        try:
            return self.journal.intend(Wish("AAPL", "BUY 1 MKT DAY", mark, 1.0)).order_ref
        except DuplicateIntentError as error:
            assert any(i.state != "refused" for i in before)
            return error.order_ref

    @rule(ref=refs, state=sampled_from(sorted(FOLLOWS)), filled=floats(0, 10))
    def hear(self, ref, state, filled):
        old = self.journal.get(ref)
        new = self.journal.update(ref, state, filled=filled)
        if state not in FOLLOWS[old.state]:
            assert new is None
        now = self.journal.get(ref)
        assert now.filled >= old.filled
        assert (old.state == "filled") <= (now.state == "filled")
        assert (old.state not in UNRESOLVED) <= (now.state != "intended")

    @rule()
    def start_again(self):
        self.journal.close()
        self.journal = Journal(self.path)

    @invariant()
    def the_chain_holds(self):
        assert self.journal.verify() >= len(self.journal.intents())

    @invariant()
    def a_key_has_one_order(self):
        keyed = [i.key for i in self.journal.intents() if len(i.key) == 1]
        assert len(keyed) == len(set(keyed))
        assert all(i.done == (i.state in DONE) for i in self.journal.intents())


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestJournal = Machine.TestCase
