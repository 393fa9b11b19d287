"""Headlines, articles and bulletins, made up: the same for ever from a seed.

Pure and random access, but for what a test publishes by hand. The words are invented and say so.
Not here: who asks for them (`ibkit.sim.handlers.news`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from ibkit.sim.noise import fraction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ibkit.sim.instrument import Instrument

PROVIDERS: Final = {
    "BRFG": "Briefing.com General Market Columns",
    "BRFUPDN": "Briefing.com Analyst Actions",
    "DJ-N": "Dow Jones News Service",
    "DJ-RTA": "Dow Jones Real-Time News Asia Pacific",
    "DJNL": "Dow Jones Newsletters",
}
MOST_A_DAY: Final = 3
DAY: Final = 86_400
OPENS_S: Final = 11 * 3600  # news of a day come from then on, in UTC
HOURS_S: Final = 11 * 3600
STORIES: Final = (
    "{name} opens a new plant, the simulator reports",
    "Analyst at Imaginary Research raises {symbol} to Buy",
    "Analyst at Imaginary Research cuts {symbol} to Hold",
    "{name} names a new head of finance",
    "{symbol} shares move with the sector in simulated trading",
    "{name} wins an order from a customer that does not exist",
    "{name} expands its buyback programme",
    "What to watch in {symbol} this week",
)


class Story(NamedTuple):
    """One headline."""

    time: float
    provider: str
    article_id: str
    headline: str


class Bulletin(NamedTuple):
    """A bulletin of IB: kind 1 is news, 2 says an exchange is not there, 3 that it is back."""

    number: int
    kind: int
    text: str
    exchange: str


@dataclass(slots=True)
class Newsroom:
    """Where news come from.

    Parameters
    ----------
    seed : int
        Another seed is other news.
    """

    seed: int
    bulletins: list[Bulletin] = field(default_factory=list)
    _published: list[tuple[int, Story, str]] = field(default_factory=list)

    def publish(self, con_id: int, story: Story, text: str = "") -> None:
        """Add a headline by hand, about one instrument or (0) about the market."""
        self._published.append((con_id, story, text or story.headline))

    def announce(self, text: str, *, kind: int = 1, exchange: str = "") -> Bulletin:
        """Add a bulletin."""
        bulletin = Bulletin(len(self.bulletins) + 1, kind, text, exchange)
        self.bulletins.append(bulletin)
        return bulletin

    def stories(
        self, instrument: Instrument, start: float, end: float, providers: frozenset[str]
    ) -> list[Story]:
        """Return the headlines about an instrument after `start`, up to `end`, oldest first."""
        days = range(int(start) // DAY, int(end) // DAY + 1)
        found = [story for day in days for story in self._of_day(instrument, day)]
        found += [story for con_id, story, _ in self._published if con_id == instrument.con_id]
        found = [one for one in found if start < one.time <= end and one.provider in providers]
        return sorted(found)

    def _of_day(self, instrument: Instrument, day: int) -> Iterator[Story]:
        """Yield a day's headlines: more on working days, none for what nobody writes about."""
        if instrument.sec_type not in {"STK", "IND", "FUT", "CASH", "CRYPTO"}:
            return
        con_id = instrument.con_id
        weekend = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).weekday() >= 5
        count = 0 if weekend else int((MOST_A_DAY + 1) * fraction(self.seed, "news", con_id, day))
        for n in range(count):
            draw = fraction(self.seed, "story", con_id, day, n)
            at = day * DAY + OPENS_S + int(HOURS_S * (n + draw) / MOST_A_DAY)
            provider = list(PROVIDERS)[int(draw * 997) % len(PROVIDERS)]
            name = instrument.long_name.title() or instrument.symbol
            words = STORIES[int(draw * 8191) % len(STORIES)]
            headline = words.format(name=name, symbol=instrument.symbol)
            yield Story(float(at), provider, f"{provider}${con_id:x}.{day:x}.{n}", headline)

    def article(self, article_id: str, find: Callable[[int], Instrument | None]) -> str | None:
        """Return the text of an article, or None when nobody has written it."""
        for _, story, text in self._published:
            if story.article_id == article_id:
                return text
        try:
            about, day, number = (int(part, 16) for part in article_id.split("$")[1].split("."))
        except (IndexError, ValueError):
            return None
        instrument = find(about)
        if instrument is None or not 0 <= day < 100_000:
            return None
        known = {story.article_id: story.headline for story in self._of_day(instrument, day)}
        if article_id not in known:
            return None
        return (
            f"<p>{known[article_id]}.</p><p>This is article {number + 1} of its day about "
            f"{instrument.symbol}. It was made up by the simulated gateway; no part of it is "
            "true.</p>"
        )
