"""Write `ibkit/contracts/holidays.txt` from exchange_calendars.

The package (with pandas) is too slow to import for a handful of dates; a test holds the two equal.
"""

from collections import defaultdict
from importlib import import_module
from pathlib import Path

MARKETS = ("XNYS", "XLON", "XEUR")
FIRST, LAST = "1999-01-01", "2060-12-31"
HEADER = """\
# Regular holidays (weekends apart), by which the last trading days of futures are counted.
# market year MMDD,...; made by scripts/make_expiry_holidays.py from the package
# exchange_calendars (Apache-2.0).
"""


def rows(market: str) -> list[str]:
    """Return the lines of one market."""
    module = import_module(f"exchange_calendars.exchange_calendar_{market.lower()}")
    kind = getattr(module, f"{market}ExchangeCalendar")
    # the rules alone, without the schedule that a whole calendar builds
    found = object.__new__(kind).regular_holidays.holidays(FIRST, LAST)
    days = defaultdict(list)
    for day in found[found.day_of_week < 5]:
        days[day.year].append(f"{day:%m%d}")
    return [f"{market} {year} {','.join(sorted(set(days[year])))}" for year in sorted(days)]


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "ibkit" / "contracts" / "holidays.txt"
    lines = [line for market in MARKETS for line in rows(market)]
    target.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} lines")
