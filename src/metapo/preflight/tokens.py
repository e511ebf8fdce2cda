"""What requests hold, in tokens: real templates filled with real prompts, assumptions where nothing is known yet."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from statistics import fmean

from metapo.judge.judge import Judge
from metapo.judge.preparation import PLAN_WORDS, SOLVE_WORDS, preparation_prompt
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ScriptedTransport
from metapo.preflight.ranges import NOTHING, Load, Range, call, exactly, total
from metapo.rollout import Prompt, Rollout
from metapo.rubric import Rubric
from metapo.rubric_text import render_criterion, render_rubric
from metapo.settings import Settings

N_RENDERED = 200  # prompts, drawn at random, whose requests are written out
CHARS_PER_WORD = 6
LEVEL_TOKENS = Range(4, 9)  # of a reply, for each criterion: its key and points
RATIONALE_TOKENS = Range(10, 60)
QUOTE_TOKENS = Range(5, 60)
LETTER_TOKENS = Range(1, 4)
CHARS_PER_TOKEN = Range(3.0, 5.0)
META_REPLY_TOKENS = Range(50, 600)
JUDGE_S = Range(0.5, 10.0)
META_S = Range(2.0, 30.0)
CountTokens = Callable[[str], int]


@dataclass(frozen=True)
class Assumptions:
    """What nobody can know before the run. `completion_tokens` is what the policy writes; `criteria` how many a rubric
    of the meta model's has; `reply_tokens` replaces what a judge's reply is taken to have; `count` counts tokens,
    without it they are characters by `chars_per_token`. Seconds are those of one request."""

    completion_tokens: Range
    criteria: Range
    chars_per_token: Range = CHARS_PER_TOKEN
    meta_reply_tokens: Range = META_REPLY_TOKENS
    reply_tokens: Range | None = None
    judge_s: Range = JUDGE_S
    meta_s: Range = META_S
    count: CountTokens | None = None

    def tokens(self, text: str) -> Range:
        return exactly(self.count(text)) if self.count else exactly(len(text)) / self.chars_per_token

    def chars(self, n: float) -> Range:
        """Tokens of a text of which only the length is known."""
        return exactly(n) / self.chars_per_token


def some(prompts: Sequence[Prompt], seed: int) -> Sequence[Prompt]:
    """Those whose requests are written out."""
    return prompts if len(prompts) <= N_RENDERED else Random(seed).sample(list(prompts), N_RENDERED)


def judged(settings: Settings, rubric: Rubric, prompts: Sequence[Prompt], told: Assumptions, *, evolves: bool) -> Load:
    """What one judge is asked about one completion, on average over the prompts; nothing of what is prepared.
    `evolves`: the rubric may grow."""
    judging = settings.judging
    judge = Judge(ScriptedTransport(()), task=settings.judge_task, settings=judging)
    asked = [judge.prompts(rubric, _unanswered(prompt)) for prompt in prompts]
    shown = _shown(told, judging.max_chars) + _prepared(settings)
    grown = told.chars(_growth(settings, rubric)) if evolves else NOTHING
    longer = shown + Range(0, grown.high)
    loads = [_mean([told.tokens(texts[i]) for texts in asked]) for i in range(len(asked[0]))]
    replies = _replies(settings, rubric, told, len(loads))
    asked_once = total(call(tokens + longer, replies) for tokens in loads)
    n = len(loads)
    more = Range(1, max(n, told.criteria.high) / n) if evolves and judging.mode != "joint" else exactly(1)
    turns = Range(1, judging.max_turns) if judging.turns == "each" else exactly(1)
    return asked_once.times(more).times(turns)


def explained(settings: Settings, rubric: Rubric, prompts: Sequence[Prompt], told: Assumptions) -> Load:
    """What it takes to have the reasons for one completion's verdicts."""
    judging = settings.judging.model_copy(update={"mode": "joint", "rationales": "always"})
    return judged(settings.model_copy(update={"judging": judging}), rubric, prompts, told, evolves=True)


def prepared(settings: Settings, rubric: Rubric, prompts: Sequence[Prompt], told: Assumptions) -> Load:
    """What a judge works out for one prompt beforehand."""
    texts = [
        preparation_prompt(
            settings.judging.first,
            task=settings.judge_task,
            rubric=render_rubric(rubric),
            given=_given(prompt),
            has_reference=prompt.reference is not None,
        )
        for prompt in prompts
    ]
    return call(_mean([told.tokens(text) for text in texts]), _prepared(settings))


@dataclass(frozen=True)
class MetaCalls:
    """One request of each kind to the meta model, or one conversation."""

    analysis: Load
    refinement: Load
    merge: Load
    comparison: Load
    exemplar: Load
    attack: Load
    split: Load


def meta_calls(settings: Settings, rubric: Rubric, prompts: Sequence[Prompt], told: Assumptions) -> MetaCalls:
    """What each stage of a meta step asks, on average over the prompts."""
    text, task, n_words = render_rubric(rubric), settings.meta_task, str(settings.meta.max_words)
    reply, most = told.meta_reply_tokens, str(settings.meta.max_criteria)
    given = _mean([told.tokens(_given(prompt)) for prompt in prompts])
    one = told.tokens(render_criterion(rubric.criteria[0]))
    whole = told.tokens(text) + Range(0, told.chars(_growth(settings, rubric)).high)

    def filled(name: str, **values: str) -> Range:
        template = load_template("metapo.meta", name)
        return told.tokens(template.render(**{field: values.get(field, "") for field in template.fields}))

    form = load_template("metapo.meta", "form").text
    verdicts = (LEVEL_TOKENS + RATIONALE_TOKENS) * exactly(len(rubric.criteria))
    analysis = filled("analyze", task=task) + whole + verdicts + given + told.completion_tokens
    drafts = whole * exactly(settings.meta.samples)
    return MetaCalls(
        analysis=call(analysis, reply),
        refinement=_conversation(
            analysis + reply + filled("refine_count", max_criteria=most),
            filled("refine_criterion", form=form),
            one,
            told,
        ),
        merge=_conversation(
            filled("merge_count", task=task, max_criteria=most, max_words=n_words) + whole + drafts,
            filled("merge_criterion", form=form),
            one,
            told,
        ),
        comparison=call(filled("compare", task=task) + given + told.completion_tokens * exactly(2), Range(1, 60)),
        exemplar=call(filled("exemplify", task=task) + given, told.completion_tokens),
        attack=call(filled("attack", task=task) + whole + given + told.completion_tokens, told.completion_tokens),
        split=_conversation(filled("split_count", task=task) + whole, filled("split_criterion", form=form), one, told),
    )


def _conversation(begins: Range, ask: Range, item: Range, told: Assumptions) -> Load:
    """A number is asked for, then one criterion after the other; each request holds all that was said before."""
    load = call(begins, Range(1, 5))
    low, high = (int(n) for n in (told.criteria.low, told.criteria.high))

    def written(n: int, by: float) -> float:
        return sum(i * by for i in range(n))

    n_items, grown = Range(low, high), Range(written(low, (ask + item).low), written(high, (ask + item).high))
    return load + Load(n_items, n_items * (begins + ask) + grown, n_items * Range(item.low / 2, item.high * 2))


def _unanswered(prompt: Prompt) -> Rollout:
    return Rollout(prompt=prompt.text, completion="", reference=prompt.reference)


def _given(prompt: Prompt) -> str:
    parts = [fence("prompt", prompt.text)]
    return "\n\n".join([*parts, fence("reference solution", prompt.reference)] if prompt.reference else parts)


def _shown(told: Assumptions, max_chars: int) -> Range:
    """Tokens of a completion as the judge sees it, which may be without its middle."""
    most = told.chars(max_chars)
    return Range(min(told.completion_tokens.low, most.low), min(told.completion_tokens.high, most.high))


def _prepared(settings: Settings) -> Range:
    """Tokens of what the judge wrote beforehand."""
    n_words = {"nothing": 0, "solve": SOLVE_WORDS, "plan": PLAN_WORDS}[settings.judging.first]
    return Range(n_words / 4, 2 * n_words)


def _growth(settings: Settings, rubric: Rubric) -> float:
    """Characters by which meta steps may make a rubric longer: up to half of what they are allowed."""
    return max(0, settings.meta.max_words / 2 - rubric.n_words) * CHARS_PER_WORD if settings.meta.every else 0.0


def _replies(settings: Settings, rubric: Rubric, told: Assumptions, n_questions: int) -> Range:
    """Tokens of the reply to one question."""
    if told.reply_tokens is not None:
        return told.reply_tokens
    n = exactly(len(rubric.criteria) / n_questions)
    if settings.judging.mode != "joint" and not any(c.evidence for c in rubric.criteria):
        return LETTER_TOKENS
    each = LEVEL_TOKENS + (RATIONALE_TOKENS if settings.judging.rationales == "always" else NOTHING)
    return each * n + (QUOTE_TOKENS * n if any(c.evidence for c in rubric.criteria) else NOTHING)


def _mean(ranges: Sequence[Range]) -> Range:
    return Range(fmean(r.low for r in ranges), fmean(r.high for r in ranges))
