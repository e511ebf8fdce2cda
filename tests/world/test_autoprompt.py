"""A rubric refined before training in the offline world: the real search on the world's own programs."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from metapo.cli import main
from metapo.errors import ChatRejected
from metapo.judge.judge import Judge
from metapo.judge.template import fence, load_template
from metapo.judge.transport import ChatRequest
from metapo.offline.autoprompt import Autoprompt, AutopromptPlan
from metapo.offline.boundary import AIMS, Labelled
from metapo.offline.cases import Case
from metapo.offline.search import annotator_rubric
from metapo.reward import normalized
from metapo.rollout import Message, Rollout, Split
from metapo.rubric import Criterion, Level, Rubric
from metapo.rubric_text import render_rubric
from metapo.store import Store
from metapo.world import corpus
from metapo.world.autoprompt import Annotator, first_rollouts, search_connections, search_settings
from metapo.world.essay import Role, essay_of
from metapo.world.gold import gold
from metapo.world.judge import WorldJudge
from metapo.world.ladders import LADDERS, kind_of
from metapo.world.meta import WorldMeta
from metapo.world.presets import preset_rubric
from metapo.world.symptoms import symptoms
from tests.offline.parts import Bench
from tests.world.essays import GOOD, PROMPT, REASONS, REMARK, THESIS, TITLE, texts

ITER0 = preset_rubric("iter0")

# --- the command


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search with everything as it is by default."""
    out = tmp_path_factory.mktemp("search")
    result = CliRunner().invoke(main, ["world", "autoprompt", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "all rounds are done" in result.output
    return out


def test_the_command_makes_the_shipped_rubric(found: Path) -> None:
    shipped = files("metapo").joinpath("rubrics", "world", "autoprompt.yaml").read_text(encoding="utf-8")
    comment, rubric = shipped.split("\n", 1)
    assert comment.startswith("# ")
    assert "metapo world autoprompt --seed 0" in comment
    assert (found / "rubric.yaml").read_text(encoding="utf-8") == rubric


def test_labels_are_gold_to_the_next_level_and_real_essays_come_first(found: Path) -> None:
    store = Store(found / "store.db")
    records = [r for split in Split for r in store.rollouts(split=split)]
    first = [r for r in records if r.rollout.step == (r.rollout.split is Split.EVAL)]
    store.close()
    assert len(records) > 30
    assert all(r.monitor == round(4 * gold(essay_of(r.rollout.prompt, r.rollout.completion))) / 4 for r in records)
    written = {(r.prompt, r.completion) for r in first_rollouts(seed=0)}
    assert {(r.rollout.prompt, r.rollout.completion) in written for r in first} == {True}
    assert len(first) == AutopromptPlan().cases


def test_a_search_that_is_done_goes_on_with_more_rounds_only(found: Path) -> None:
    def call(*more: str) -> str:
        result = CliRunner().invoke(main, ["world", "autoprompt", "--out", str(found), *more])
        return f"{result.exit_code} {result.output}"

    assert "\n5 rounds, " in call()
    assert call("--seed", "1").startswith("1 Error: ")


# --- what it begins with


def test_the_search_is_that_of_iter0_and_meets_gold_in_the_annotator_alone() -> None:
    settings = search_settings(annotator_rubric(), seed=3)
    assert (settings.rubric, settings.seed, settings.arm) == (ITER0, 3, "iter0")
    connections = search_connections(settings)
    assert isinstance(connections.monitor, Annotator)
    assert type(connections.judge) is WorldJudge
    assert type(connections.meta) is WorldMeta


def test_the_first_essays_follow_from_the_seed() -> None:
    rollouts = first_rollouts(seed=5)
    assert [r.prompt for r in rollouts] == corpus.prompts(held_out=False)
    assert rollouts == first_rollouts(seed=5)
    assert rollouts != first_rollouts(seed=6)
    assert all(r.completion for r in rollouts)


@given(text=texts, n_levels=st.integers(2, 9))
async def test_the_annotator_gives_the_level_nearest_to_gold(text: str, n_levels: int) -> None:
    levels = tuple(Level(points=i, description=f"level {i}") for i in range(n_levels))
    rubric = Rubric(criteria=(Criterion(id="quality", name="Quality", levels=levels),))
    judge = Judge(Annotator(), task="Write an essay.")
    assessment = await judge.assess(rubric, Rollout(prompt=PROMPT, completion=text))
    label = normalized(rubric, assessment.outcomes).normalized
    assert label is not None
    assert abs(label - gold(essay_of(PROMPT, text))) <= 0.5 / (n_levels - 1) + 1e-9


# --- the meta model


async def ask(text: str) -> str:
    request = ChatRequest(messages=(Message(role="user", content=text),), max_tokens=9)
    return (await WorldMeta().complete(request)).text


async def written(aim: str, rubric: Rubric, known: Sequence[str] = ()) -> str:
    """A boundary case, asked for as the search asks."""
    shown = [fence("prompt", PROMPT), *(fence("known case: the score is 0.90, the label 0.10", k) for k in known)]
    template = load_template("metapo.offline", "boundary")
    material = "\n\n".join(shown)
    return await ask(template.render(task="Essays.", rubric=render_rubric(rubric), material=material, aim=aim))


@pytest.mark.parametrize("rubric", [ITER0, preset_rubric("oracle"), Rubric(criteria=(LADDERS["title"],))])
async def test_boundary_cases_are_what_was_asked_for(rubric: Rubric) -> None:
    poor, good, between = [essay_of(PROMPT, await written(aim, rubric, known=[GOOD])) for aim in AIMS]
    assert symptoms(good) == []
    assert gold(poor) < 0.3 < gold(between) < 0.7 < gold(good)


async def test_a_poor_case_speaks_to_the_grader_where_nothing_forbids_it() -> None:
    assert essay_of(PROMPT, await written(AIMS[0], ITER0)).of(Role.REMARK)
    assert not essay_of(PROMPT, await written(AIMS[0], preset_rubric("oracle"))).of(Role.REMARK)


def labelled(texts: Sequence[str], label: float) -> list[Case]:
    """Each text for as many prompts as the search needs."""
    prompts = [PROMPT.replace("supports", verb) for verb in ("supports", "defends")]
    return [Case(Rollout(prompt=p, completion=text), label) for text in texts for p in prompts]


async def refined(folder: Path, cases: Sequence[Case], first: Rubric = ITER0) -> tuple[Rubric, str, str]:
    """What one round makes of a rubric: the rubric, the decision's reason, and all that the meta model wrote."""
    with Bench(folder, WorldJudge(noise=0.0), WorldMeta(), first=first) as bench:
        source = Labelled(bench.scorer, cases)
        plan = AutopromptPlan(rounds=1, cases=len(cases))
        await Autoprompt(bench.lineage, bench.scorer, bench.model, source, plan).run()
        [step] = bench.lineage.store.meta_steps()
        return bench.lineage.best.rubric, step.reason, "\n".join(e.reply for e in step.exchanges)


async def test_a_rewriting_has_the_criteria_that_would_have_caught_the_cases(tmp_path: Path) -> None:
    flattery = [f"{TITLE} {REMARK}", f"{TITLE} {THESIS} {REMARK}", f"{TITLE} {REMARK} {REMARK}"]
    rubric, reason, said = await refined(tmp_path, labelled(flattery, 0.0))
    assert {"grader", "reasons", "conclusion"} <= {kind_of(c) for c in rubric.criteria}
    assert None not in {kind_of(c) for c in rubric.criteria}, "the vague one did harm"
    assert "Case 3. The score is inflated." in said
    assert "speaks to the grader" in said
    assert "of 3 held-out cases" in reason


async def test_only_what_slipped_through_changes_a_rubric(tmp_path: Path) -> None:
    full = Rubric(criteria=tuple(LADDERS[kind] for kind in ("reasons", "title")))
    cases = labelled([f"{THESIS} {reason}" for reason in REASONS], 1.0)
    rubric, reason, said = await refined(tmp_path, cases, full)
    assert (rubric, reason) == (full, "the proposal equals the rubric in use")
    assert "The score is too low." in said


async def test_a_diagnosis_without_cases_is_refused() -> None:
    prompt = f"Stage: diagnosis\n\n{render_rubric(ITER0)}"
    with pytest.raises(ChatRejected, match="a diagnosis needs cases with a score and a label"):
        await ask(prompt)
    with pytest.raises(ChatRejected, match="needs a fenced prompt and a fenced completion"):
        await ask(f"{prompt}\n\nCase 1: the score is 0.50, the label 0.25.\n\n{fence('prompt', PROMPT)}")
