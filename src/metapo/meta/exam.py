"""What the proposals of one meta step are measured by: pairs of known order from rollouts that they have not seen."""

from collections.abc import Mapping, Sequence
from random import Random

from metapo.meta.asking import compare, exemplify
from metapo.meta.conversation import Exchange, MetaModel
from metapo.meta.damage import ANY_TEXT, DAMAGES
from metapo.meta.gate import Exam
from metapo.meta.pairs import Pair, Source, damaged_pairs, monitor_pairs, reference_pairs
from metapo.meta.settings import ExamSettings, GateSettings
from metapo.reward import Scored
from metapo.rollout import Rollout

ANY_TEXT_SHARE = 0.25  # of the damaged pairs: there are always enough of these, and they ask for little
RICH_SHARE = 0.5  # of the others: with fewer, the policy's own completions leave too little to damage


def hold_out(recent: Sequence[Scored], rng: Random) -> tuple[list[Scored], list[Scored]]:
    """Rollouts for the proposals to see, and as many groups of rollouts that they don't; both in order."""
    groups = list(dict.fromkeys((s.rollout.step, s.rollout.prompt) for s in recent))
    unseen = set(rng.sample(groups, len(groups) // 2))
    parts: tuple[list[Scored], list[Scored]] = ([], [])
    for scored in recent:
        parts[(scored.rollout.step, scored.rollout.prompt) in unseen].append(scored)
    return parts


async def make_exam(
    model: MetaModel,
    unseen: Sequence[Scored],
    before_training: Mapping[str, Scored],
    anchors: Sequence[Pair],
    *,
    settings: ExamSettings,
    limits: GateSettings,
    rng: Random,
    log: list[Exchange],
) -> Exam:
    """At most `limits.max_pairs` fresh pairs, spread over their sources, and a draw of the anchors.
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
    drawn = rng.sample(list(anchors), min(limits.max_anchors, len(anchors)))
    return Exam(tuple(_once(fresh)[:wanted]), tuple(_once(drawn)))


async def _damaged(
    model: MetaModel,
    rollouts: Sequence[Rollout],
    before_training: Mapping[str, Scored],
    wanted: int,
    exemplars: int,
    rng: Random,
    log: list[Exchange],
) -> list[Pair]:
    """Damaged copies: of the policy's own completions; where these leave too little to damage, of what it wrote before
    training and of what the meta model writes."""
    easy = damaged_pairs(rollouts, round(ANY_TEXT_SHARE * wanted), rng, among=sorted(ANY_TEXT))
    wanted -= len(easy)
    pairs = damaged_pairs(rollouts, wanted, rng, among=[rule for rule in DAMAGES if rule not in ANY_TEXT])
    if len(pairs) >= RICH_SHARE * wanted:
        return [*pairs, *easy]
    prompts = {r.prompt: r for r in rollouts}
    early = [before_training[prompt].rollout for prompt in prompts if prompt in before_training]
    pairs += damaged_pairs(early or [s.rollout for s in before_training.values()], (wanted - len(pairs)) // 2, rng)
    if exemplars and prompts:
        asked = rng.sample(list(prompts.values()), min(exemplars, len(prompts)))
        written = await exemplify(model, asked, log)
        pairs += damaged_pairs(written, wanted - len(pairs), rng, source=Source.EXEMPLAR)
    return [*pairs, *easy]


def _contenders(unseen: Sequence[Scored], n: int, rng: Random) -> list[tuple[Rollout, Rollout]]:
    """From each of `n` groups the completion that the judge holds best, which is where hacks are, and another one."""
    groups: dict[tuple[int, str], dict[str, Scored]] = {}
    for scored in unseen:
        groups.setdefault((scored.rollout.step, scored.rollout.prompt), {})[scored.rollout.completion] = scored
    found = []
    for group in groups.values():
        *others, best = sorted(group.values(), key=lambda s: s.reward.normalized or 0.0)
        if others:
            found.append((best.rollout, rng.choice(others).rollout))
    return rng.sample(found, min(n, len(found)))


def _once(pairs: Sequence[Pair]) -> list[Pair]:
    return list({pair.key: pair for pair in pairs}.values())
