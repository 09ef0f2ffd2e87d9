"""What of the texts of a data set a recogniser cannot write, because no unit stands for it."""

from __future__ import annotations

import logging
from collections import Counter

from seqstride.errors import InputError
from seqstride.models.tokens import Units

logger = logging.getLogger(__name__)

UNKNOWN_SHARE = 0.01
"""The largest share of the training items whose texts may have characters without a unit."""
SHOWN = 8
"""Characters or words that a message names at most."""


def check_units(units: Units, split: str, texts: dict[str, str]) -> None:
    """Reports the characters or words that `encode` leaves out of the texts of a split, item → text.

    Raises:
        InputError: more than `UNKNOWN_SHARE` of the training items lose something.
    """
    unknown = {name: names for name, text in texts.items() if (names := units.unknown(text))}
    if not unknown:
        return
    counts = Counter(name for names in unknown.values() for name in names)
    most = ", ".join(f"{name!r} ({count}×)" for name, count in counts.most_common(SHOWN))
    others = f" and {len(counts) - SHOWN} others" if len(counts) > SHOWN else ""
    item = next(iter(unknown))
    found = (
        f"{len(unknown)} of {len(texts)} texts of {split} have what no unit stands for: {most}{others}; "
        f"such as {item}: {texts[item]!r}"
    )
    if split == "train" and len(unknown) > UNKNOWN_SHARE * len(texts):
        raise InputError(
            f"{found}. At most {UNKNOWN_SHARE:.0%} of the training texts may lose something: change the texts, or "
            f"`units` (={units.kind!r})"
        )
    logger.warning("%s. No output can be right there", found)
