"""What a search for a rubric before training works with in the offline world: the vague rubric, the world's judge and
meta model, an annotator that knows gold, and what the policy writes before it is trained."""

from metapo.judge.transport import ChatReply, ChatRequest
from metapo.rollout import Rollout
from metapo.rubric import Criterion, Rubric
from metapo.scorer import Connections
from metapo.world import corpus
from metapo.world.essay import Essay
from metapo.world.gold import gold
from metapo.world.judge import WorldJudge, build_judge
from metapo.world.meta import WorldMeta
from metapo.world.policy import sample_essays
from metapo.world.presets import MAX_COMPLETION_TOKENS, WorldSettings, arm_settings


class Annotator(WorldJudge):
    """A judge that is never wrong: under any criterion it gives the level nearest to gold quality, in equal steps from
    the worst level at 0 to the best at 1."""

    def __init__(self) -> None:
        super().__init__(noise=0.0)

    async def complete(self, request: ChatRequest) -> ChatReply:
        reply = await super().complete(request)
        return reply.model_copy(update={"model": "world-annotator"})

    async def identify(self) -> str:
        return "world-annotator"

    def fitting_level(self, criterion: Criterion, essay: Essay) -> int:
        return round(gold(essay) * (len(criterion.levels) - 1))


def search_settings(annotator_rubric: Rubric, *, seed: int) -> WorldSettings:
    """iter0's settings, watched by an annotator that grades under `annotator_rubric`."""
    settings = arm_settings("iter0", seed=seed)
    monitor = {"judge": {"url": "world://offline", "model": "gold"}, "rubric": annotator_rubric}
    return WorldSettings.model_validate({**settings.model_dump(), "monitor": monitor})


def search_connections(settings: WorldSettings) -> Connections:
    """The programs behind the chat seam. Gold reaches the meta model as the labels that it is shown, and in no other
    way."""
    return Connections(judge=build_judge(settings), meta=WorldMeta(), monitor=Annotator())


def first_rollouts(*, seed: int) -> list[Rollout]:
    """What the policy writes before it is trained, once for each prompt of training, in order."""
    prompts = corpus.prompts(held_out=False)
    essays = sample_essays(prompts, seed=seed, max_tokens=MAX_COMPLETION_TOKENS)
    return [Rollout(prompt=prompt, completion=essay) for prompt, essay in zip(prompts, essays, strict=True)]
