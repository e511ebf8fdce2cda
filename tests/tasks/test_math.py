"""The math task: which rows are problems, which completions need no judge, what the final metric counts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metapo.answers import Comparer
from metapo.errors import DataError, MissingExtra, SettingsError
from metapo.meta.settings import under
from metapo.reward import Screened
from metapo.rollout import Prompt, Rollout, Split
from metapo.settings import WHOLE, TrainSettings
from metapo.shipped import shipped_preset
from metapo.tasks import math
from metapo.tasks.math import TASK, is_exact, measure
from tests.answers.problems import real_problems
from tests.helpers import odd_texts
from tests.tasks.parts import load, settings_with, write_rows

ROW = {"problem": " What is $3/2$ of 1? ", "solution": r"It is \boxed{\frac{3}{2}}.", "type": "algebra", "level": "1"}
REASONING = "We take the number and look at each of its parts in turn, " * 3
HOSTILE = "9^{9^{9^{9}}}"


def solved(answer: str) -> str:
    return rf"{REASONING}and so it is \boxed{{{answer}}}."


def rollout(completion: str, prompt: str = "p", *, split: Split = Split.EVAL, step: int = 0) -> Rollout:
    return Rollout(prompt=prompt, completion=completion, reference=ROW["solution"], split=split, step=step)


def screened(rollout: Rollout, **options: object) -> Screened | None:
    screen = TASK.screen(settings_with("math", **options))

    async def run() -> Screened | None:
        return await screen(rollout)

    return asyncio.run(run())


# --- rows


def test_a_problem_is_asked_with_its_solution_for_judge_and_meta_model(tmp_path: Path) -> None:
    [prompt] = load(TASK, write_rows(tmp_path / "rows.jsonl", ROW))
    assert prompt.text.startswith("Solve the problem below.")
    assert prompt.text.endswith("\nWhat is $3/2$ of 1?")
    assert prompt == Prompt(prompt.text, ROW["solution"])


def test_the_label_is_the_boxed_answer_or_that_in_a_column_of_its_own(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {**ROW, "answer": " 1.5 ", "boxed": r"\boxed{1.50}"})
    assert [p.label for p in load(TASK, path, labels=True)] == [r"\frac{3}{2}"]
    assert [p.label for p in load(TASK, path, labels=True, label_column="answer")] == ["1.5"]
    assert [p.label for p in load(TASK, path, labels=True, label_column="boxed")] == ["1.50"]


@pytest.mark.parametrize(
    ("column", "cluster"),
    [
        (None, ""),
        ("type", "algebra"),
        ("cluster", "algebra/2"),
        (("domain_id", "cluster_id"), "3/0"),
        (["type"], "algebra"),
    ],
)
def test_clusters_come_from_one_column_or_several(column: Any, cluster: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", {**ROW, "cluster": "algebra/2", "domain_id": 3, "cluster_id": 0})
    assert [p.cluster for p in load(TASK, path, cluster_column=column)] == [cluster]


@pytest.mark.parametrize(
    ("changed", "columns", "message"),
    [
        ({"solution": "It is 3."}, {}, r"a solution must hold its answer as \boxed{...}; this one ends in 'It is 3.'"),
        (
            {"solution": r"\boxed{ }"},
            {},
            r"a solution must hold its answer as \boxed{...}; this one ends in '\\boxed{ }'",
        ),
        ({"solution": r"\boxed{3"}, {}, r"a solution must hold its answer as \boxed{...}"),
        (
            {"solution": rf"\boxed{{{'1' * 1001}}}"},
            {},
            "the answer in 'solution' is too long to be compared; got '1111",
        ),
        (
            {"solution": rf"\boxed{{{'(' * 31}}}"},
            {},
            "the answer in 'solution' is too nested to be compared; got '((((",
        ),
        ({"problem": " "}, {}, "'problem' must be a text that isn't empty; got ' '"),
        ({"solution": None}, {}, "'solution' must be a text that isn't empty; got 'None'"),
        (
            {"answer": "The answer is 4."},
            {"label_column": "answer"},
            r"'answer' reads like a solution without a \boxed{...} answer; got 'The answer is 4.'",
        ),
        ({"answer": r"\boxed{}"}, {"label_column": "answer"}, "'answer' holds no answer; got"),
        ({"answer": 3}, {"label_column": "answer"}, "'answer' must be a text that isn't empty; got '3'"),
        ({}, {"label_column": "answer"}, "no column 'answer'; it has 'problem', 'solution'"),
        ({}, {"reference_column": "proof"}, "no column 'proof'; it has 'problem', 'solution'"),
        ({}, {"cluster_column": ["type", "cluster_id"]}, "no column 'cluster_id'; it has 'problem'"),
    ],
)
def test_a_wrong_row_is_named(changed: Any, columns: Any, message: str, tmp_path: Path) -> None:
    whole = {**ROW, "answer": "1.5", "proof": ROW["solution"], "cluster_id": 0}
    path = write_rows(tmp_path / "rows.jsonl", whole, {**ROW, **changed})
    with pytest.raises(DataError) as caught:
        load(TASK, path, labels=True, **columns)
    assert str(caught.value).startswith(f"{path}, row 2: {message}")


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_problems_are_read_and_their_solutions_right(split: str) -> None:
    prompts = load(TASK, real_problems(split), labels=True, cluster_column="subject")
    assert len({p.text for p in prompts}) == len(prompts) >= 200
    assert len({p.cluster for p in prompts}) == 7
    answered = [
        (Rollout(prompt=p.text, completion=p.reference or "", split=Split.EVAL), p.label or "") for p in prompts
    ]
    assert measure(answered) == {"accuracy": 1.0, "no_answer": 0.0, "undecided": 0.0}


# --- screens

RIGHT, WRONG = Screened("right answer", 1.0, 5), Screened("wrong answer", 0.0, 0)
NO_BOX, SHORT = Screened("no boxed answer", 0.0, 0), Screened("too little reasoning", 0.0, 0)
UNTOLD = Screened("the comparison of the boxed answer gave up", None, None)
CASES = [
    (solved(r"\frac{3}{2}"), RIGHT),
    (solved("1.5"), RIGHT),
    (solved(r"x = \frac32 \text{ cm}"), RIGHT),
    (solved("2") + r" No, \boxed{1.5}.", RIGHT),
    (solved("1.5") + r" No, \boxed{2}.", WRONG),
    (solved("1.4"), WRONG),
    (REASONING + "so it is 1.5.", NO_BOX),
    (REASONING + r"\boxed{}", NO_BOX),
    (REASONING + r"\boxed{1.5", NO_BOX),
    (solved("{" * 10_000 + "1.5" + "}" * 10_000), WRONG),
    (solved("1" * 100_000), WRONG),
    (solved("__import__('os').system('touch stolen')"), WRONG),
    (solved(HOSTILE), UNTOLD),
    (r"\boxed{1.5}", SHORT),
    ("word " * 28 + r"\boxed{1.5}", SHORT),
    ("word " * 29 + r"\boxed{1.5}", RIGHT),
    ("", SHORT),
]


@pytest.mark.parametrize(("completion", "found"), CASES)
def test_an_answer_alone_is_worth_all_or_nothing(
    completion: str, found: Screened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert screened(rollout(completion)) == found
    assert screened(rollout(completion, split=Split.TRAIN), exact_share=1) == found
    assert screened(rollout(completion, split=Split.TRAIN), exact_share=0) == (SHORT if found is SHORT else None)
    assert list(tmp_path.iterdir()) == []


def test_how_much_reasoning_is_asked_for_can_be_chosen() -> None:
    assert screened(rollout(r"\boxed{1.5}"), min_reasoning_words=1) == RIGHT
    assert screened(rollout(""), min_reasoning_words=0) == NO_BOX
    assert screened(rollout(solved("1.5")), min_reasoning_words=100) == SHORT


def test_without_a_reference_solution_nothing_can_be_told() -> None:
    found = screened(Rollout(prompt="p", completion=solved("1.5"), split=Split.EVAL))
    assert found == Screened("there is no reference solution with a boxed answer", None, None)


@pytest.mark.parametrize("options", [{"exact_share": 1.5}, {"exact": 0.5}, {"min_reasoning_words": -1}])
def test_options_that_are_none_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        TASK.screen(settings_with("math", **options))
    assert str(caught.value).startswith(f"task_options of math are wrong:\n  {next(iter(options))}: ")
    assert str(caught.value).endswith("Its options are: exact_share (0.5), min_reasoning_words (30)")


def test_a_missing_extra_is_told_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(math, "_comparer", Comparer())
    with pytest.raises(MissingExtra, match=r"pip install 'metapo\[math\]'"):
        TASK.screen(settings_with("math"))


SCREEN = TASK.screen(settings_with("math"))


@settings(max_examples=100)
@given(
    odd_texts, st.sampled_from(["{}", "\\boxed{{{}}}", "\\boxed{}", "\\fbox{{\\frac{{{}}}2}}"]), st.sampled_from(Split)
)
@example("\ud800", "\\boxed{{{}}}", Split.EVAL)
@example("\x00" * 40, "\\boxed{{{}}}", Split.EVAL)
def test_no_completion_makes_the_screen_raise(text: str, form: str, split: Split) -> None:
    async def run() -> Screened | None:
        return await SCREEN(rollout(REASONING + form.format(text), text, split=split))

    found = asyncio.run(run())
    assert found is None or found.normalized in (None, 0, 1)
    assert split is Split.TRAIN or found is not None


async def test_training_goes_on_while_answers_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with Comparer(cpu_s=1) as comparer:
        monkeypatch.setattr(math, "_comparer", comparer)
        screen = TASK.screen(settings_with("math"))
        comparing = asyncio.create_task(screen(rollout(solved(f"1+{HOSTILE}"))))
        n = 0
        while not comparing.done():
            await asyncio.sleep(0.01)
            n += 1
        assert await comparing == UNTOLD
    assert n > 10, "it takes a second of CPU time"


# --- which groups


def exact(seed: int, share: float = 0.5, n: int = 2000) -> list[bool]:
    return [is_exact(rollout("", f"Problem {i}", split=Split.TRAIN, step=i // 100), seed, share) for i in range(n)]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_so_many_groups_are_scored_by_their_answers(share: float) -> None:
    assert sum(exact(0, share)) / 2000 == pytest.approx(share, abs=0.04)  # four standard deviations and more


def test_the_draw_follows_from_seed_step_and_prompt() -> None:
    assert exact(1) == exact(1)
    assert sum(a is b for a, b in zip(exact(1), exact(2), strict=True)) / 2000 == pytest.approx(0.5, abs=0.05)
    by_step = [is_exact(rollout("", split=Split.TRAIN, step=step), 0, 0.5) for step in range(2000)]
    assert sum(by_step) / 2000 == pytest.approx(0.5, abs=0.05)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), odd_texts, odd_texts, odd_texts, st.integers(0, 500))
def test_all_completions_of_a_group_are_scored_alike(
    seed: int, share: float, prompt: str, first: str, second: str, step: int
) -> None:
    group = [
        Rollout(prompt=prompt, completion=text, step=step, position=i, cluster=f"{i}")
        for i, text in enumerate((first, second))
    ]
    assert len({is_exact(one, seed, share) for one in group}) == 1
    assert all(is_exact(one.model_copy(update={"split": Split.EVAL}), seed, share) for one in group)


# --- the final metric


def test_accuracy_counts_right_answers_whatever_leads_to_them() -> None:
    completions = [solved("1.5"), r"\boxed{1.50}", solved("2"), "1.5", solved(HOSTILE), solved(r"\frac{6}{4}")]
    found = measure([(rollout(text), r"\frac{3}{2}") for text in completions])
    assert found == pytest.approx({"accuracy": 3 / 6, "no_answer": 1 / 6, "undecided": 1 / 6})


# --- its settings


@pytest.mark.parametrize(("name", "select", "samples"), [("paper/math", "thirds", 6), ("gpu/math", "mixed", 16)])
def test_presets_grade_by_a_plan(name: str, select: str, samples: int) -> None:
    read = TrainSettings.from_yaml("{}", base=under(TASK.settings, shipped_preset(name)[1], WHOLE))
    assert (read.judging.first, read.judging.rationales, read.engine.max_completion_tokens) == ("plan", "always", 1000)
    assert (read.meta.select, read.meta.samples) == (select, samples)
    assert (read.rubric.min_points, read.rubric.max_points) == (0, 5)
    assert "boxed" in read.task_description
    assert read.judge_notes
    assert read.meta_notes
