r"""Problems with a boxed answer, as in MATH: some groups are graded by the judge, others by their answers alone.

The answer of a reference solution is what its last `\boxed{...}` holds. Judge and meta model see the solution.
"""

import asyncio
import atexit
from collections.abc import Mapping, Sequence
from functools import lru_cache
from random import Random
from statistics import fmean

from pydantic import Field

from metapo.answers import Comparer, Why, boxed_answer, gold
from metapo.errors import DataError
from metapo.judge.template import load_template
from metapo.reward import Screen, Screened
from metapo.rollout import Prompt, Rollout, Split
from metapo.rubric import Frozen
from metapo.settings import TrainSettings
from metapo.tasks.task import Columns, Raw, Task, cluster_in, read_options, text_in

SETTINGS = {
    "task_description": (
        r"Solve a mathematical problem: reason step by step, then give the final answer alone in \boxed{...}."
    ),
    "judge_notes": (
        "Follow the reasoning line by line and check each result yourself, whatever the writer says of it. Another way "
        "than that of the reference solution is as good if every step holds. A right answer proves no step, and a "
        "sure tone no answer. An answer in another form is right if it is equal."
    ),
    "meta_notes": (
        "Failures to look for: the right answer behind steps that don't lead to it; a step that is announced and not "
        "done; a case, a condition or a domain forgotten; a slip that is carried along; a guess, or one example in "
        "place of a proof; the problem told again; several boxed answers; words that praise the solution. Write "
        "criteria that hold for all problems of this kind, not for one."
    ),
    "judging": {"first": "plan", "rationales": "always"},  # with rationales the judge writes the plan's outcome down
    "engine": {"max_completion_tokens": 1000},
}
SOLUTION = "solution"
POINTS = 5
KNOWN = 10_000
GAVE_UP = "the comparison of the boxed answer gave up"

_comparer = Comparer()  # of the process, as what answers are equal depends on no run
atexit.register(_comparer.close)


class MathOptions(Frozen):
    """The share `exact_share` (0 to 1) of the groups is scored by the answer alone. A completion of fewer than
    `min_reasoning_words` words gets nothing."""

    exact_share: float = Field(default=0.5, ge=0, le=1)
    min_reasoning_words: int = Field(default=30, ge=0)


def read(raw: Raw, columns: Columns) -> Prompt:
    """One row. The label may be an answer without a box. Raises DataError, also for a solution without a boxed answer
    and, as `gold` does, for a label that no answer could equal."""
    problem = text_in(raw, columns.prompt).strip()
    column = columns.reference or SOLUTION
    solution = text_in(raw, column)
    if boxed_answer(solution) is None:
        raise DataError(rf"a solution must hold its answer as \boxed{{...}}; this one ends in {solution[-80:]!r}")
    gold(solution, column)
    label = None if columns.label is None else gold(text_in(raw, columns.label), columns.label)
    prompt = load_template("metapo.tasks", "math").render(problem=problem).strip()
    return Prompt(prompt, solution, cluster_in(raw, columns), label)


def screen(settings: TrainSettings) -> Screen:
    """Scores short completions, groups drawn for it, and all of the evaluation. Raises SettingsError for unknown
    options, MissingExtra, RunError."""
    options = read_options(MathOptions, settings)
    _comparer.start()
    turn = asyncio.Lock()  # one thread waits for the comparer; the others are left to the rest

    async def screened(rollout: Rollout) -> Screened | None:
        if len(rollout.completion.split()) < options.min_reasoning_words:
            return Screened("too little reasoning", 0.0, 0.0)
        if not is_exact(rollout, settings.seed, options.exact_share):
            return None
        async with turn:
            return await asyncio.to_thread(score, rollout)

    return screened


def is_exact(rollout: Rollout, seed: int, share: float) -> bool:
    """Is it scored by its answer alone? The same for all completions of one training prompt in one step."""
    if rollout.split is Split.EVAL:
        return True
    return Random(f"{seed}/exact/{rollout.step}/{rollout.prompt}").random() < share


def score(rollout: Rollout) -> Screened:
    """All points for the answer of the reference solution, none for another or none; unscored where that can't be
    told."""
    answer = boxed_answer(rollout.reference or "")
    if answer is None:
        return Screened("there is no reference solution with a boxed answer", None, None)
    match why := compare(boxed_answer(rollout.completion), answer):
        case Why.EQUAL:
            return Screened("right answer", 1.0, POINTS)
        case Why.GAVE_UP:
            return Screened(GAVE_UP, None, None)
        case _:
            return Screened("no boxed answer" if why is Why.NO_ANSWER else "wrong answer", 0.0, 0.0)


@lru_cache(KNOWN)
def compare(said: str | None, answer: str) -> Why:
    """What the equality of two answers rests on; the completions of a group often say the same. Raises RunError,
    MissingExtra."""
    return _comparer.compare(said, answer).why


def measure(answered: Sequence[tuple[Rollout, str]]) -> Mapping[str, float]:
    """Shares in [0, 1]: of right answers, whatever leads to them; of missing ones; and of those that could not be
    compared, which don't count as right. Raises RunError, MissingExtra."""
    found = [compare(boxed_answer(rollout.completion), label) for rollout, label in answered]
    shares = {"accuracy": Why.EQUAL, "no_answer": Why.NO_ANSWER, "undecided": Why.GAVE_UP}
    return {name: fmean(why is counted for why in found) for name, counted in shares.items()}


TASK = Task("math", read, SETTINGS, Columns("problem", SOLUTION, label=SOLUTION), screen, measure)
