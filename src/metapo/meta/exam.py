"""What the proposals of one meta step are measured by: pairs of known order from rollouts that they have not seen."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from random import Random

from metapo.meta.asking import compare, exemplify
from metapo.meta.conversation import Exchange, MetaModel
from metapo.meta.damage import DAMAGES, MIN_SENTENCES
from metapo.meta.gate import Exam
from metapo.meta.pairs import Pair, Source, damaged_pairs, monitor_pairs, reference_pairs
from metapo.meta.select import Evidence
from metapo.meta.sentences import split_sentences
from metapo.meta.settings import ExamSettings, GateSettings
from metapo.reward import Scored
from metapo.rollout import Rollout

UNTRAINED_STEPS = 5  # at the run's beginning: what the policy wrote before training moved it
NO_CURE = ("misplaced", "remarked", "repeated", "shuffled")
CUTS = tuple(rule for rule in DAMAGES if rule not in NO_CURE)
SCRAPS_SHARE = (
    0.125  # of the damaged pairs, at most, are of scraps: a bare title, given to another prompt, asks for little
)
RICH_SHARE = 0.5  # of the cuts wanted: with fewer, what the policy wrote before training leaves too little to damage


def hold_out(evidence: Evidence, rng: Random) -> tuple[Evidence, Evidence]:
    """Evidence for the proposals to see, and what they don't see: half of the prompts of the recent rollouts, with all
    that was written to them, and what was written before training to prompts that are not among the recent ones. With
    one prompt alone, half of its groups."""
    part = _prompt if len({_prompt(s) for s in evidence.recent}) > 1 else _group
    parts = list(dict.fromkeys(map(part, evidence.recent)))
    seen = set(parts) - set(rng.sample(parts, len(parts) // 2))

    def side(shown: bool) -> tuple[list[Scored], dict[str, Scored]]:
        recent = [s for s in evidence.recent if (part(s) in seen) is shown]
        return recent, {p: s for p, s in evidence.reference.items() if (part(s) in seen) is shown}

    (recent, reference), (unseen, before_training) = side(True), side(False)
    return replace(evidence, recent=recent, reference=reference), Evidence(unseen, reference=before_training)


def _prompt(scored: Scored) -> Hashable:
    return scored.rollout.prompt


def _group(scored: Scored) -> Hashable:
    return scored.rollout.step, scored.rollout.prompt


async def make_exam(
    model: MetaModel,
    unseen: Sequence[Scored],
    before_training: Sequence[Scored],
    known: Sequence[Pair],
    *,
    settings: ExamSettings,
    limits: GateSettings,
    rng: Random,
    log: list[Exchange],
) -> Exam:
    """At most `limits.max_pairs` fresh pairs, spread over their sources, and of the known ones the newest
    `settings.earlier` that examined proposals before, and at most `limits.max_anchors` anchors.
    Raises ChatMisconfigured."""
    wanted = limits.max_pairs
    rollouts = [s.rollout for s in unseen]
    fresh: list[Pair] = []
    if settings.monitor:
        fresh += monitor_pairs(unseen, wanted // 4, rng)
    if settings.references:
        fresh += reference_pairs(rollouts, wanted // 4, rng)
    if settings.compared:
        fresh += await compare(model, _contenders(unseen, min(settings.compared, wanted // 2), rng), log)
    if settings.damaged:
        fresh += await _damaged(model, rollouts, before_training, wanted - len(fresh), settings.exemplars, rng, log)
    fresh = _once(fresh)[:wanted]
    keys = {pair.key for pair in fresh}
    before = [pair for pair in _once(known) if pair.source is not Source.ANCHOR and pair.key not in keys]
    archive = _newest([pair for pair in known if pair.source is Source.ARCHIVE], settings.archive)
    pinned = [pair for pair in known if pair.source is Source.ANCHOR]
    anchors = _drawn([*archive, *pinned], limits.max_anchors, rng)
    return Exam(tuple(fresh), tuple(anchors), tuple(_newest(before, settings.earlier)))


def _newest(pairs: Sequence[Pair], n: int) -> Sequence[Pair]:
    return pairs[-n:] if n else ()


def _drawn(anchors: Sequence[Pair], n: int, rng: Random) -> list[Pair]:
    """Up to `n` of the anchors: a draw of the pinned ones, and the archive in what place they leave."""
    known = _once(anchors)  # of equal ones the last stays
    return sorted(rng.sample(known, len(known)), key=lambda pair: pair.source is not Source.ANCHOR)[:n]


async def _damaged(
    model: MetaModel,
    rollouts: Sequence[Rollout],
    before_training: Sequence[Scored],
    wanted: int,
    exemplars: int,
    rng: Random,
    log: list[Exchange],
) -> list[Pair]:
    """Damaged copies. Of the policy's own completions, such as are worse whatever it has learnt; where training has
    inflated a text, to cut it may be a cure. So the other rules damage what the policy wrote before training and,
    where that is too little, what the meta model writes: in the run's first steps, and in place of a policy that has
    collapsed to scraps. Elsewhere such texts are unlike those that the rubric has to judge."""
    is_new = any(r.step < UNTRAINED_STEPS for r in rollouts)
    whole = [r for r in rollouts if len(split_sentences(r.last_said)) >= MIN_SENTENCES]
    pairs = damaged_pairs(whole, wanted // 2 if is_new else wanted, rng, among=NO_CURE)
    pairs = pairs or damaged_pairs(rollouts, round(SCRAPS_SHARE * wanted), rng, among=NO_CURE)
    n_cut = wanted - len(pairs)
    collapsed = len(pairs) <= SCRAPS_SHARE * wanted
    if not (is_new or collapsed):
        return pairs
    rules, n_early = (tuple(DAMAGES), int(RICH_SHARE * n_cut)) if collapsed else (CUTS, n_cut)
    prompts = {r.prompt: r for r in rollouts}
    untrained = [s.rollout for s in before_training]
    cut = damaged_pairs([r for r in untrained if r.prompt in prompts] or untrained, n_early, rng, among=rules)
    if exemplars and prompts and len(cut) <= RICH_SHARE * n_cut:
        asked = rng.sample(list(prompts.values()), min(exemplars, len(prompts)))
        written = await exemplify(model, asked, log)
        cut += damaged_pairs(written, n_cut - len(cut), rng, source=Source.EXEMPLAR)
    return [*pairs, *cut]


def _contenders(unseen: Sequence[Scored], n: int, rng: Random) -> list[tuple[Rollout, Rollout]]:
    """Up to `n` pairs: from each group the completion that the judge holds best, which is where hacks are, and another
    one; then, as long as groups last, the best of those that are left, and so on. None stands in two pairs."""
    groups: dict[Hashable, dict[str, Scored]] = {}
    for scored in unseen:
        groups.setdefault(_group(scored), {})[scored.rollout.completion] = scored
    waiting = [sorted(group.values(), key=lambda s: s.reward.normalized or 0.0) for group in groups.values()]
    found: list[tuple[Rollout, Rollout]] = []
    while len(found) < n and (waiting := [group for group in waiting if len(group) > 1]):
        for group in rng.sample(waiting, len(waiting)):
            best = group.pop()
            found.append((best.rollout, group.pop(rng.randrange(len(group))).rollout))
    return found[:n]


def _once(pairs: Sequence[Pair]) -> list[Pair]:
    return list({pair.key: pair for pair in pairs}.values())
