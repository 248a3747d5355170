"""When will a file be read again? The one guess that every decision of tiering rests on.

The guess is an interval in seconds, from what was seen of the file: the mean of the intervals
between its visits, drawn towards the mean of all files while there are few of them. Comparing
intervals makes every file of a cyclic scan equal, wherever the scan is, which comparing recency
(LRU) or decayed counts does not. A file that stays away for longer than expected is worth less and
less: its age takes the place of the interval. The same idea as in LIRS (Jiang and Zhang, SIGMETRICS
2002), which compares the larger of interval and recency, with a mean instead of the last interval.
"""

from __future__ import annotations

from typing import Final

PRIOR: Final = 1.0
"""How many intervals the mean of all files counts for, beside those of the file itself."""

PATIENCE: Final = 2.0
"""A file may stay away for so many times its interval before that is held against it.

In epochs of random order two reads of a file are up to two epochs apart.
"""

STRANGER: Final = 4.0
"""A file read once is expected back after so many times the mean interval, if it asks to come in.

Most files that were read once are never read again; those that are come back with an interval.
"""


def resident_interval(intervals: int, mean: float, age: float, typical: float) -> float:
    """Seconds until a file that is on flash is read again, the most favourable guess.

    ``intervals`` were seen, of ``mean`` seconds; the last visit is ``age`` seconds ago; ``typical``
    is the mean interval of all files.
    """
    expected = (PRIOR * typical + intervals * mean) / (PRIOR + intervals)
    return max(expected, age / PATIENCE)


def candidate_interval(intervals: int, mean: float, typical: float) -> float:
    """Seconds until a file that was just read is read again; of a stranger expect little."""
    if not intervals:
        return STRANGER * typical
    return (PRIOR * typical + intervals * mean) / (PRIOR + intervals)
