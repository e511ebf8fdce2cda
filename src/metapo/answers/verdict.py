"""The verdict that a completion comes to: a label between `<verdict>` and `</verdict>`."""

import re
from collections.abc import Sequence

LABELS = ("RIGHT", "WRONG")
TAG = re.compile(r"<verdict>([^<>]*)</verdict>", re.IGNORECASE)


def verdict_in(completion: str, labels: Sequence[str] = LABELS) -> str | None:
    """The label in the last `<verdict>...</verdict>`, in any case; None where it holds anything but one label."""
    found = TAG.findall(completion)
    return label_of(found[-1], labels) if found else None


def label_of(said: str, labels: Sequence[str] = LABELS) -> str | None:
    """The label that a text is, in any case and with white space around it; None where it is none of them."""
    return next((label for label in labels if label.casefold() == said.strip().casefold()), None)
