"""What a run will ask of its models: calls, tokens, money and time, as ranges, from the settings and real prompts.

Counted is what a run asks when every reply is clear: no retries, no completion that was judged before, and every
completion reaches the judge. How a run asks is told in `judge/` and `meta/`; this follows it stage by stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from operator import attrgetter

from metapo.engines.prompts import reading_order
from metapo.judge.endpoint import Endpoint, EndpointSettings
from metapo.meta.schedule import Past, due
from metapo.preflight.ranges import NOTHING, Load, Range, exactly, total
from metapo.preflight.tokens import Assumptions, explained, judged, meta_calls, prepared, some
from metapo.rollout import Prompt
from metapo.scorer import MIN_WARM_UP
from metapo.settings import Settings, TrainSettings

SPREAD = 2  # standard deviations of what is drawn at random
HELD_OUT = 0.5  # of the rollouts, for the gate
PROBE_TOKENS = Range(1, 60)  # of a short question, or of its reply


@dataclass(frozen=True)
class Part:
    """One kind of request in a run, to one endpoint."""

    name: str
    endpoint: Endpoint
    load: Load

    @property
    def usd(self) -> Range | None:
        """US dollars, where the endpoint has a price and nothing comes from its cache."""
        price = self.endpoint.price if isinstance(self.endpoint, EndpointSettings) else None
        if price is None:
            return None
        low, high = (
            price.cost(int(end(self.load.prompt_tokens)), 0, int(end(self.load.reply_tokens)))
            for end in (attrgetter("low"), attrgetter("high"))
        )
        return Range(low, high)


@dataclass(frozen=True)
class Estimate:
    """A run beforehand. `seconds_judging` is what training waits for its judges, `seconds_meta` for meta steps."""

    parts: tuple[Part, ...]
    n_meta_steps: Range
    n_evaluations: int
    seconds_judging: Range
    seconds_meta: Range

    @property
    def all(self) -> Load:
        return total(part.load for part in self.parts)

    @property
    def usd(self) -> Range | None:
        """US dollars of all endpoints that have a price; None where none has one."""
        known = [usd for part in self.parts if (usd := part.usd) is not None]
        return Range(sum(u.low for u in known), sum(u.high for u in known)) if known else None


def estimate(
    settings: TrainSettings, prompts: Sequence[Prompt], evaluated: Sequence[Prompt], told: Assumptions
) -> Estimate:
    """What the run of these settings on one process asks, with the prompts that it trains and evaluates on."""
    run = _Run(settings, prompts, evaluated, told)
    parts = (*run.beginning(), *run.training(), *run.evaluation(), *run.meta_steps())
    asked = tuple(part for part in parts if part.load.calls.high > 0)
    return Estimate(asked, run.n_meta, run.n_evaluations, run.seconds_judging(), run.seconds_meta())


class _Run:
    """What several stages need."""

    def __init__(
        self, settings: TrainSettings, prompts: Sequence[Prompt], evaluated: Sequence[Prompt], told: Assumptions
    ) -> None:
        self.settings, self.told, self.evaluated = settings, told, evaluated
        self.prompts = prompts
        self.rubric = settings.rubric
        self.judges = (settings.judge, *(settings.panel.judges if settings.panel else ()))
        self.meta_model = settings.meta.endpoint or settings.judge
        self.n_clusters = len({prompt.cluster for prompt in prompts})
        self.n_meta = n_meta_steps(settings, self.n_clusters)
        self.n_adopted = Range(0, self.n_meta.high)
        self.n_evaluations = n_evaluations(settings) if evaluated else 0
        self._sample = some(prompts, settings.seed)
        self.one = judged(settings, self.rubric, self._sample, told, evolves=self.evolves)

    @property
    def evolves(self) -> bool:
        return self.n_meta.high > 0

    @property
    def batch(self) -> int:
        return self.settings.engine.batch_size

    # --- stages

    def beginning(self) -> list[Part]:
        """Who answers, what the server can do, and one token per judge and revision before its first batch."""
        judging, monitor = self.settings.judging, self.settings.monitor
        graders = [*self.judges, *([monitor.judge] if monitor else [])]
        parts = []
        for endpoint in once([*graders, self.meta_model]):
            if isinstance(endpoint, EndpointSettings):
                n = exactly(1) + (_n_probes(self.settings, endpoint) if endpoint in graders else NOTHING)
                parts.append(Part("who answers, and how", endpoint, Load(n, n * PROBE_TOKENS, n * PROBE_TOKENS)))
        if judging.warm_up and self.batch >= MIN_WARM_UP:
            n_revisions = exactly(self.n_clusters) + self.n_adopted
            warm = Load(exactly(1), self.one.prompt_tokens / Range(1, max(1.0, self.one.calls.high)), exactly(1))
            parts += [Part("warm-ups", judge, warm.times(n_revisions)) for judge in self.judges]
        return parts

    def training(self) -> list[Part]:
        """Every completion once by every judge, and the monitor's share."""
        n = exactly(self.settings.engine.steps * self.batch)
        parts = [Part("training, judged", judge, self.one.times(n)) for judge in self.judges]
        if self.settings.judging.first != "nothing":
            parts += [Part("training, prepared", judge, self._prepared(self._n_read())) for judge in self.judges]
        if monitor := self.settings.monitor:
            spread = SPREAD * sqrt(n.low * monitor.share * (1 - monitor.share))
            share = Range(max(0.0, n.low * monitor.share - spread), n.high * monitor.share + spread)
            parts.append(Part("training, watched", monitor.judge, self._watched(self._sample).times(share)))
        return parts

    def evaluation(self) -> list[Part]:
        """One completion to each evaluation prompt, each time."""
        if not self.n_evaluations:
            return []
        sample, n = some(self.evaluated, self.settings.seed), exactly(len(self.evaluated) * self.n_evaluations)
        one = judged(self.settings, self.rubric, sample, self.told, evolves=self.evolves)
        parts = [Part("evaluation, judged", judge, one.times(n)) for judge in self.judges]
        if self.settings.judging.first != "nothing":
            n_prompts = len({prompt.text for prompt in self.evaluated})
            known = Range(n_prompts, n.high if self.settings.judging.first == "plan" else n_prompts)
            parts += [Part("evaluation, prepared", judge, self._prepared(known)) for judge in self.judges]
        if self.settings.monitor:
            parts.append(Part("evaluation, watched", self.settings.monitor.judge, self._watched(sample).times(n)))
        return parts

    def meta_steps(self) -> list[Part]:
        """What all meta steps together ask of the meta model, and of the judges for them."""
        if not self.evolves:
            return []
        n = self.n_meta
        step = meta_step(self.settings, self._sample, self.told, self._n_readable())
        parts = [Part(f"meta: {name}", self.meta_model, load.times(n)) for name, load in step.items()]
        if self.settings.judging.rationales == "for_meta":
            reasons = explained(self.settings, self.rubric, self._sample, self.told)
            read = exactly(min(self.settings.meta.samples, self._n_readable()))
            parts.append(Part("meta: reasons", self.settings.judge, reasons.times(read).times(n)))
        parts += [
            Part("meta: gate", judge, self.one.times(n_examined(self.settings)).times(n)) for judge in self.judges
        ]
        if self.settings.meta.bridge != "off":
            batches = self.n_adopted * Range(1, 1 if self.settings.judging.cache else 2) * exactly(self.batch)
            parts += [Part("meta: bridge", judge, self.one.times(batches)) for judge in self.judges]
        return parts

    # --- time

    def seconds_judging(self) -> Range:
        """How long training waits for judges: their bounds on requests at once and on rates hold, and the slowest of a
        panel counts."""
        n_steps, n_evaluations = self.settings.engine.steps, self.n_evaluations
        batches = [(exactly(self.batch), n_steps), (exactly(len(self.evaluated)), n_evaluations)]
        waits = [
            [self._seconds(judge, self.one.times(size)) * exactly(n) for size, n in batches if n]
            for judge in self.judges
        ]
        sums = [Range(sum(w.low for w in wait), sum(w.high for w in wait)) for wait in waits]
        return Range(max(s.low for s in sums), max(s.high for s in sums))

    def seconds_meta(self) -> Range:
        """How long training waits for meta steps: with a staleness it goes on beside them."""
        if not self.evolves or self.settings.meta.staleness:
            return NOTHING
        step = meta_step(self.settings, self._sample, self.told, self._n_readable())
        in_turn = exactly(1) + (exactly(1) + self.told.criteria) * Range(2, 2 + self.settings.meta.repair)
        at_once = [self._seconds(self.meta_model, load) for load in step.values()]
        longest = Range(max(s.low for s in at_once), sum(s.high for s in at_once))
        waited = in_turn * self.told.meta_s
        judging = self._seconds(self.settings.judge, self.one.times(n_examined(self.settings)))
        return (Range(max(waited.low, longest.low), waited.high + longest.high) + judging) * self.n_meta

    def _seconds(self, endpoint: Endpoint, load: Load) -> Range:
        """How long requests take that are sent together."""
        rounds = Range(load.calls.low / endpoint.at_once, load.calls.high / endpoint.at_once).whole
        waits = rounds * (self.told.judge_s if endpoint in self.judges else self.told.meta_s)
        if not isinstance(endpoint, EndpointSettings):
            return waits
        rates = [(load.calls, endpoint.requests_per_minute), (load.tokens, endpoint.tokens_per_minute)]
        bound = [Range(n.low / rate * 60, n.high / rate * 60) for n, rate in rates if rate]
        return Range(max(w.low for w in [waits, *bound]), max(w.high for w in [waits, *bound]))

    # --- parts of stages

    def _watched(self, prompts: Sequence[Prompt]) -> Load:
        monitor = self.settings.monitor
        assert monitor is not None
        own = monitor.rubric
        return judged(self.settings, own or self.rubric, prompts, self.told, evolves=self.evolves and own is None)

    def _prepared(self, n: Range) -> Load:
        return prepared(self.settings, self.rubric, self._sample, self.told).times(n)

    def _n_read(self) -> Range:
        """Prompts of the training that are prepared: each once, a plan under each revision."""
        order = reading_order(self.settings, len(self.prompts))
        n_prompts = len({self.prompts[i].text for i in order})
        return Range(n_prompts, len(order) if self.settings.judging.first == "plan" else n_prompts)

    def _n_readable(self) -> int:
        """Completions that a meta step may choose from; those held out for the gate are not among them."""
        meta = self.settings.meta
        between = meta.earliest if meta.when == "adaptive" else meta.every
        seen = between * self.batch // max(1, self.n_clusters)
        return max(1, int(seen * (1 - HELD_OUT))) if meta.gate else seen


def once(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """Each endpoint once, in order."""
    return [endpoint for i, endpoint in enumerate(endpoints) if endpoint not in endpoints[:i]]


def _n_probes(settings: Settings, endpoint: EndpointSettings) -> Range:
    """Requests that tell what a server honours."""
    n = exactly(settings.judging.mode == "expected")  # log-probabilities
    if endpoint.structured != "auto":
        return n
    return n + (Range(1, 2) if settings.judging.mode == "joint" else Range(1, 3))


def n_meta_steps(settings: TrainSettings, n_clusters: int = 1) -> Range:
    """Meta steps that begin: with an adaptive schedule no fewer than where none changes anything and no trigger fires,
    and no more than where each changes the rubric."""
    counts = [_n_begun(settings, settings.engine.steps, changed) * n_clusters for changed in (False, True)]
    most = settings.meta.budget.steps
    counts = [min(count, most) if most is not None else count for count in counts]
    return Range(min(counts), max(counts))


def _n_begun(settings: Settings, n_steps: int, changed: bool) -> int:
    past: list[Past] = []
    for step in range(1, n_steps + 1):
        is_in_time = step + settings.meta.staleness < n_steps
        if is_in_time and due(step, (), past, settings.meta):
            past.append(Past(step, changed))
    return len(past)


def n_evaluations(settings: TrainSettings) -> int:
    """Those on the way, and one at the end unless the last step had one."""
    every, steps = settings.engine.eval_every, settings.engine.steps
    return steps // every + bool(steps % every) if every else 1


def meta_step(settings: Settings, prompts: Sequence[Prompt], told: Assumptions, n_readable: int) -> dict[str, Load]:
    """What one meta step asks of the meta model, stage by stage; `n_readable` completions are there to be read."""
    meta, asked = settings.meta, meta_calls(settings, settings.rubric, prompts, told)
    n = exactly(min(meta.samples, n_readable))
    n_merges = exactly(meta.candidates) + Range(0, meta.repair and meta.gate is not None)
    step = {
        "analyses": asked.analysis.times(n),
        "refinements": asked.refinement.times(n),
        "merges": asked.merge.times(n_merges),
    }
    if meta.hygiene.split:
        step["splits"] = asked.split.times(Range(0, meta.candidates))
    if meta.gate is not None:
        n_pairs = min(meta.exam.compared, meta.gate.max_pairs // 2)
        step["comparisons"] = asked.comparison.times(Range(0, 2 * n_pairs))
        step["exemplars"] = asked.exemplar.times(Range(0, meta.exam.exemplars if meta.exam.damaged else 0))
        n_attacks = Range(0, meta.exam.written_attacks * meta.gate.attack)
        step["attacks"] = (asked.attack + asked.comparison.times(exactly(2))).times(n_attacks)
    return step


def n_examined(settings: Settings) -> Range:
    """Completions that the gate of one meta step has judged: from none, where nothing is proposed, to both of every
    fresh pair under the parent and all proposals, and of every other pair under the parent and one of them. The others
    seldom get so far; where they do, it is more."""
    meta = settings.meta
    if meta.gate is None:
        return NOTHING
    gate = meta.gate
    others = meta.exam.earlier + gate.max_anchors * gate.anchors + gate.max_attacks * gate.attack
    n_proposals = meta.candidates + meta.repair
    return Range(0, 2 * gate.max_pairs * gate.fresh * (1 + n_proposals) + 4 * others)
