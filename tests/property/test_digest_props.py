"""What a journal comes to against its commits, one by one: the same, however they were read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibkit.store.digest import Digest
from ibkit.store.journal import Commit, FileChange, moment
from ibkit.store.spans import union

SERIES = ({}, {"what_to_show": "BID", "use_rth": True}, {"what_to_show": "BID", "use_rth": False})
edges = st.integers(0, 30)
commits = st.lists(
    st.builds(
        Commit,
        commit_id=st.integers(1, 10**15),
        dataset=st.just("bars_1min"),
        instrument=st.just("STK-AAPL-SMART-USD"),
        operation=st.just("upsert"),
        series=st.sampled_from(SERIES),
        span=st.none() | st.tuples(edges, edges).map(lambda two: tuple(map(moment, sorted(two)))),
        source=st.sampled_from(["IB", "file", ""]),
        files=st.lists(
            st.builds(FileChange, st.sampled_from("abc"), st.just(1), st.just(1), st.just("")),
            max_size=2,
        ).map(tuple),
        sealed=st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), max_size=2),
    ),
    max_size=12,
)


@given(commits, st.integers(0, 12))
def test_a_digest_says_what_the_commits_say(log, cut):
    digest = Digest().after(log[:cut]).after(log[cut:])

    assert digest.first == (log[0].commit_id if log else 0)
    assert digest.latest == (log[-1].commit_id if log else 0)
    assert digest.periods == {one.period: each.commit_id for each in log for one in each.files}
    assert digest.sealed == {name: end for one in log for name, end in one.sealed.items()}
    for series in SERIES:
        mine = [one for one in log if one.series == series]
        assert list(digest.spans(series)) == union(one.covers() for one in mine if one.span)
        assert digest.sources(series) == {one.source for one in mine}
    spoken = [said.series for said in digest.said.values() if said.spoken]
    assert all(
        (series in spoken) == any(o.span and o.series == series for o in log) for series in SERIES
    )


@given(commits, commits)
def test_a_digest_that_somebody_holds_does_not_change(before, more):
    digest = Digest().after(before)
    size, spans = digest.size, [digest.spans(series) for series in SERIES]

    digest.after(more)

    assert (digest.size, [digest.spans(series) for series in SERIES]) == (size, spans)
    assert digest == Digest().after(before)
