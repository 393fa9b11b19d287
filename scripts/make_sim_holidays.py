"""Write `ibkit/sim/holidays.txt` from exchange_calendars.

The package is too slow to import when a gateway starts; a test holds the two equal.
"""

from collections import defaultdict
from pathlib import Path

import exchange_calendars as xc
import pandas as pd

CALENDARS = ("XNYS", "XLON", "XETR", "XTKS", "XHKG")
FIRST, LAST = "1998-01-01", "2032-12-31"
HEADER = """\
# Days when a cash exchange is closed (weekends apart) or closes early, in its own time.
# calendar year closed(MMDD,...) early(MMDD-HHMM,...); made by scripts/make_sim_holidays.py
# from the package exchange_calendars (Apache-2.0). "-" is an empty list.
"""


def rows(name: str) -> list[str]:
    """Return the lines of one calendar."""
    calendar = xc.get_calendar(name, start=FIRST, end=LAST)
    closed, early = defaultdict(list), defaultdict(list)
    for day in pd.bdate_range(FIRST, LAST).difference(calendar.sessions):
        closed[day.year].append(f"{day:%m%d}")
    for day in calendar.early_closes:
        close = calendar.session_close(day).tz_convert(calendar.tz)
        early[day.year].append(f"{day:%m%d}-{close:%H%M}")
    years = range(int(FIRST[:4]), int(LAST[:4]) + 1)
    return [
        f"{name} {year} {','.join(closed[year]) or '-'} {','.join(early[year]) or '-'}"
        for year in years
    ]


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "ibkit" / "sim" / "holidays.txt"
    lines = [line for name in CALENDARS for line in rows(name)]
    target.write_text(HEADER + "\n".join(lines) + "\n")
    print(f"{target}: {len(lines)} lines")
