"""From samples to a proposed rubric: analysis and refinement per sample, one merge (MPO paper, section 3)."""

from collections.abc import Sequence
from typing import NamedTuple

from metapo.aio import each
from metapo.errors import ChatError, ChatMisconfigured
from metapo.judge.neutral import neutralize, shorten
from metapo.judge.template import fence, load_template
from metapo.meta.conversation import Conversation, Exchange, MetaModel, Stage, attempt
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Rubric, Verdict
from metapo.rubric_text import parse_rubric, render_rubric

MAX_CHARS = 40_000  # of a completion; a longer one is shown without its middle
MAX_DETAIL_CHARS = 500  # of what a rule found


class Merged(NamedTuple):
    """The criteria that a merge wrote, in order, and what could not be read or went wrong."""

    criteria: tuple[Criterion, ...]
    problems: tuple[str, ...]


async def analyze(
    model: MetaModel, rubric: Rubric, samples: Sequence[Scored], log: list[Exchange], findings: Sequence[str] = ()
) -> list[Conversation]:
    """One conversation per sample that got an analysis, in the samples' order. Raises ChatMisconfigured.

    `findings` holds what else is known of each sample, "" for nothing; no findings at all are none for every sample.
    """
    logs: list[list[Exchange]] = [[] for _ in samples]
    conversations = [model.talk(Stage.ANALYZE, logs[i], i) for i in range(len(samples))]
    known = findings or [""] * len(samples)
    prompts = [_analysis_prompt(model.task, rubric, s, found) for s, found in zip(samples, known, strict=True)]
    replies = await each(lambda cp: attempt(cp[0].ask(cp[1])), list(zip(conversations, prompts, strict=True)))
    for part in logs:
        log.extend(part)
    for conversation in conversations:
        conversation.log = log
        conversation.stage = Stage.REFINE
    return [c for c, reply in zip(conversations, replies, strict=True) if reply and reply.strip()]


async def refine(model: MetaModel, conversations: Sequence[Conversation]) -> list[str]:
    """One refined rubric as text per conversation whose refinement can be read. Raises ChatMisconfigured."""
    count_prompt = load_template("metapo.meta", "refine_count").render(max_criteria=str(model.settings.max_criteria))
    texts = await each(lambda c: attempt(c.write_rubric(count_prompt, "refine_criterion")), conversations)
    return [text for text in texts if text and parse_rubric(text).criteria]


async def merge(model: MetaModel, parent: Rubric, drafts: Sequence[str], log: list[Exchange]) -> Merged:
    """One rubric from the drafts. Raises ChatMisconfigured; any other failure is a problem."""
    prompt = load_template("metapo.meta", "merge_count").render(**_merging(model, parent, drafts))
    return await _written(model.talk(Stage.MERGE, log), prompt, "merge")


def _merging(model: MetaModel, parent: Rubric, drafts: Sequence[str]) -> dict[str, str]:
    """What a merge is told."""
    return {
        "task": model.task,
        "rubric": render_rubric(parent),
        "proposals": "\n\n".join(fence(f"proposal {i}", draft) for i, draft in enumerate(drafts, 1)),
        "max_criteria": str(model.settings.max_criteria),
        "max_words": str(model.settings.max_words),
    }


async def _written(conversation: Conversation, prompt: str, stage: str) -> Merged:
    try:
        return read(await conversation.write_rubric(prompt, f"{stage}_criterion"))
    except ChatMisconfigured:
        raise
    except ChatError as e:
        return Merged((), (f"the {stage} failed: {type(e).__name__}: {e}",))


async def repair(
    model: MetaModel, parent: Rubric, drafts: Sequence[str], refused: Rubric, reason: str, log: list[Exchange]
) -> Merged:
    """A merged rubric that was refused, written once more with the reason at hand. Raises ChatMisconfigured; any other
    failure is a problem."""
    prompt = load_template("metapo.meta", "repair_count").render(
        **_merging(model, parent, drafts),
        rejected=fence("rejected proposal", render_rubric(refused)),
        reason=fence("reason", reason),
    )
    return await _written(model.talk(Stage.REPAIR, log), prompt, "repair")


def read(text: str) -> Merged:
    """The criteria in a text that the meta model wrote, neutralised: it may quote a completion, and will stand in every
    judge's prompt."""
    parsed = parse_rubric(neutralize(text))
    return Merged(parsed.criteria, tuple(map(str, parsed.problems)))


def findings_text(flags: Sequence[tuple[str, str]], against: Rollout | None, why: str) -> str:
    """What else is known of a sample, for its analysis: what rules found, as (detector, detail), and a completion to
    hold it against, with `why` in words ("The same prompt, answered before training"). "" where there is neither."""
    told = []
    if flags:
        lines = (f"- {_plain(detector.replace('_', ' '))}: {_plain(detail)}" for detector, detail in flags)
        told.append("Rules found:\n" + fence("findings", "\n".join(lines)))
    if against is not None:
        completion = shorten(neutralize(against.completion), MAX_CHARS).text
        told.append(f"{why}:\n" + fence("contrast", completion))
    return "\n\n".join(told)


def _plain(text: str) -> str:
    return shorten(" ".join(neutralize(text).split()), MAX_DETAIL_CHARS).text.replace("\n", " ")


def _analysis_prompt(task: str, rubric: Rubric, sample: Scored, findings: str) -> str:
    rollout, reward = sample.rollout, sample.reward
    material = [fence("prompt", neutralize(rollout.prompt))]
    if rollout.reference is not None:
        material.append(fence("reference solution", neutralize(rollout.reference)))
    material.append(fence("completion", shorten(neutralize(rollout.completion), MAX_CHARS).text))
    return load_template("metapo.meta", "analyze").render(
        task=task,
        rubric=render_rubric(rubric),
        material="\n\n".join(material),
        findings=f"{findings}\n\n" if findings else "",
        verdicts="\n".join(
            f"- {o.criterion_id}: {o.value:g}. {o.rationale}"
            for o in sample.assessment.outcomes
            if isinstance(o, Verdict)
        ),
        points=f"{reward.raw:g}",
        min_points=f"{rubric.min_points:g}",
        max_points=f"{rubric.max_points:g}",
        normalized=f"{reward.normalized:.2f}",
    )
