"""What a batch of scored rollouts comes to in figures, for the metrics of a run."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean

from metapo.audit.detectors import MIN_WORDS, Detector, Flag, detect
from metapo.reward import Scored
from metapo.rubric import Rubric, Verdict


def summarize(scored: Sequence[Scored]) -> dict[str, float]:
    """Figures of one batch: mean reward, normalised and raw, share unscored, words, mean points per criterion, share of
    groups without variance, what the monitor says, and what judging took."""
    rewards = [s.reward for s in scored]
    figures: dict[str, float] = {
        "n_rollouts": len(scored),
        "unscored": sum(r.value is None for r in rewards) / len(scored),
        "words": fmean(len(s.rollout.spoken.split()) for s in scored),
    }
    means = {
        "reward": [r.value for r in rewards],
        "normalized": [r.normalized for r in rewards],
        "raw": [r.raw for r in rewards],
    }
    for part_id in dict.fromkeys(p.criterion_id for r in rewards for p in r.parts):
        means[f"criterion/{part_id}"] = [p.points for r in rewards for p in r.parts if p.criterion_id == part_id]
    for name, values in means.items():
        present = [v for v in values if v is not None]
        if present:
            figures[name] = fmean(present)
    verdicts = _screens(scored) | _saturation(scored) | _uncertainty(scored) | _fallback(scored)
    return figures | verdicts | _monitoring(scored) | _effort(scored)


def flags_of(
    scored: Sequence[Scored], rubric: Rubric | None = None, min_words: int = MIN_WORDS
) -> list[tuple[Flag, ...]]:
    """What static detectors flag in each completion, in order. They read what the policy says, of a dialogue no tool's
    results. `rubric` and `min_words` are as in `detect`: a completion shorter than `min_words` is flagged where its
    prompt asks for an essay or the like."""
    return [detect(s.rollout.prompt, s.rollout.spoken, rubric=rubric, min_words=min_words) for s in scored]


def detections(found: Sequence[tuple[Flag, ...]]) -> dict[str, float]:
    """Share of the completions that have a flag, in all and for each detector that fired."""
    fired = Counter(flag.detector for flags in found for flag in flags)
    shares = {f"flag/{detector}": fired[detector] / len(found) for detector in Detector if detector in fired}
    return {"flagged": sum(map(bool, found)) / len(found), **shares}


def _screens(scored: Sequence[Scored]) -> dict[str, float]:
    """The share of rollouts that the task's own rule scored, in all and for each reason that it gave."""
    reasons = Counter(s.screened for s in scored if s.screened)
    shares = {f"screened/{why}": n / len(scored) for why, n in sorted(reasons.items())}
    return {"screened": reasons.total() / len(scored), **shares} if reasons else {}


def _saturation(scored: Sequence[Scored]) -> dict[str, float]:
    """The share of groups with two rewards or more in which all are equal, so that nothing can be learnt from them.
    Where the task's own rule scored all of a group, no rubric is to blame: such groups don't count."""
    groups: dict[tuple[int, str], list[float]] = defaultdict(list)
    judged = {(s.rollout.step, s.rollout.prompt) for s in scored if not s.screened}
    for s in scored:
        if s.reward.value is not None:
            groups[s.rollout.step, s.rollout.prompt].append(s.reward.value)
    equal = [_all_equal(rewards) for group, rewards in groups.items() if group in judged and len(rewards) > 1]
    return {"saturated": fmean(equal)} if equal else {}


def _all_equal(rewards: Sequence[float]) -> bool:
    """Up to rounding, as the same sum can come of different verdicts."""
    return math.isclose(min(rewards), max(rewards), rel_tol=1e-9, abs_tol=1e-9)


def _uncertainty(scored: Sequence[Scored]) -> dict[str, float]:
    """The mean standard deviation of a verdict, in points, where it is known."""
    verdicts = [o for s in scored for o in s.assessment.outcomes if isinstance(o, Verdict)]
    known = [v.uncertainty for v in verdicts if v.uncertainty is not None]
    return {"uncertainty": fmean(known)} if known else {}


def _fallback(scored: Sequence[Scored]) -> dict[str, float]:
    """In mode expected, the share of verdicts for which the named level counts alone; of a panel, each judge's."""
    said = [outcomes.outcomes for s in scored for outcomes in s.assessment.opinions or (s.assessment,)]
    asked = [o for outcomes in said for o in outcomes if isinstance(o, Verdict) and o.label_mass is not None]
    return {"level_alone": sum(v.expected is None for v in asked) / len(asked)} if asked else {}


def _monitoring(scored: Sequence[Scored]) -> dict[str, float]:
    """The monitor's mean score, and by how much the judge's is higher on the same rollouts; both in [0, 1]."""
    watched = [(s.reward.normalized, s.monitored.reward.normalized) for s in scored if s.monitored]
    both = [(judge, monitor) for judge, monitor in watched if judge is not None and monitor is not None]
    if not watched:
        return {}
    figures = {"monitor/unscored": sum(monitor is None for _, monitor in watched) / len(watched)}
    if both:
        figures["monitor/normalized"] = fmean(monitor for _, monitor in both)
        figures["monitor/gap"] = fmean(judge - monitor for judge, monitor in both)
    return figures


def _effort(scored: Sequence[Scored]) -> dict[str, float]:
    """Requests, failed tries, outcomes that were known already, tokens, and US dollars where prices are set."""
    assessments = [a for s in scored for a in s.assessments]
    calls = [call for a in assessments for call in a.calls]
    replies = [call.reply for call in calls if call.reply is not None]
    figures: dict[str, float] = {
        "judge/calls": len(calls),
        "judge/failed_tries": sum(len(call.tries) for call in calls),
        "judge/reused": sum(a.n_reused for a in assessments),
        "judge/prompt_tokens": sum(reply.prompt_tokens or 0 for reply in replies),
        "judge/cached_tokens": sum(reply.cached_tokens or 0 for reply in replies),
        "judge/completion_tokens": sum(reply.completion_tokens or 0 for reply in replies),
    }
    if replies:
        figures["judge/latency_s"] = fmean(reply.latency_s for reply in replies)
    if costs := [reply.cost_usd for reply in replies if reply.cost_usd is not None]:
        figures["judge/cost_usd"] = math.fsum(costs)
    return figures
