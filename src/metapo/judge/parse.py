"""Read a judge's reply: one JSON object with one of the criterion's own levels for each criterion."""

import json
import re
from collections.abc import Sequence

from metapo.rubric import Criterion, Outcome, Reason, Unscored, Verdict

# In front only: tags that two rationales quote would swallow what stands between them.
_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_CODE_FENCE = re.compile(r"^```\w*\s*\n(.*?)\n?```$", re.DOTALL)


def parse_verdicts(criteria: Sequence[Criterion], reply: str, *, truncated: bool) -> list[Outcome]:
    """One outcome per criterion, in order. Never raises: what isn't a clear verdict is Unscored with the raw reply.

    `truncated` says that the server cut the reply at its token limit.
    """
    text = _strip(reply)
    if not text:
        return [_unscored(c, Reason.EMPTY, "the reply holds no text", reply) for c in criteria]
    try:
        entries = json.loads(text, object_pairs_hook=_unique)["verdicts"]
        if not isinstance(entries, list):
            raise TypeError("'verdicts' is not a list")
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        reason = Reason.TRUNCATED if truncated else Reason.UNPARSABLE
        detail = f"expected one JSON object with a list 'verdicts': {type(e).__name__}: {e}"
        return [_unscored(c, reason, detail, reply) for c in criteria]
    found: dict[str, list[dict[str, object]]] = {}
    for entry in entries:
        if isinstance(entry, dict) and isinstance(entry.get("criterion"), str):
            found.setdefault(entry["criterion"], []).append(entry)
    return [_outcome(c, found.get(c.id, []), reply) for c in criteria]


def _strip(reply: str) -> str:
    text = _THINKING.sub("", reply).strip()
    fenced = _CODE_FENCE.match(text)
    return fenced[1].strip() if fenced else text


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of the reply. One that gives a key twice, such as two "points", has no clear meaning."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"an object gives a key twice: {[key for key, _ in pairs]}")
    return found


def _outcome(criterion: Criterion, entries: list[dict[str, object]], raw: str) -> Outcome:
    if not entries:
        return _unscored(criterion, Reason.MISSING, "the reply has no entry for this criterion", raw)
    if len(entries) > 1:
        return _unscored(criterion, Reason.DUPLICATE, f"the reply has {len(entries)} entries for this criterion", raw)
    points, rationale = entries[0].get("points"), entries[0].get("rationale") or ""
    if isinstance(points, float) and points.is_integer():
        points = int(points)
    if isinstance(points, bool) or not isinstance(points, int) or criterion.level(points) is None:
        offered = ", ".join(str(level.points) for level in criterion.levels)
        return _unscored(criterion, Reason.OFF_MENU, f"points {points!r:.100}; the levels offer {offered}", raw)
    return Verdict(criterion_id=criterion.id, points=points, rationale=str(rationale))


def _unscored(criterion: Criterion, reason: Reason, detail: str, raw: str) -> Unscored:
    return Unscored(criterion_id=criterion.id, reason=reason, detail=detail[:500], raw=raw)
