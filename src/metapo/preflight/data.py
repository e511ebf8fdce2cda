"""Are the prompts, the task's own rules and the rubric fit for the run?"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from metapo.errors import MetapoError, MissingExtra
from metapo.preflight.found import Found, ok, problem, warning
from metapo.rollout import Prompt
from metapo.rubric_lint import lint
from metapo.settings import Settings, TrainSettings
from metapo.tasks.loading import find_task, load_prompts
from metapo.tasks.task import Task

N_MEASURED = 2000  # prompts whose tokens are counted


def rubrics(settings: Settings) -> Iterator[Found]:
    """Advice on the rubric that the run begins with."""
    rubric = settings.rubric
    advice = lint(rubric)
    for finding in advice:
        yield warning("rubric", finding)
    if not advice:
        n, low, high = len(rubric.criteria), rubric.min_points, rubric.max_points
        yield ok(
            "rubric", f"{n} {'criterion' if n == 1 else 'criteria'}, {low:g} to {high:g} points, nothing to advise"
        )


def prompts(settings: TrainSettings) -> Iterator[Found]:
    """What is read, what is left out, what comes twice, what is too long, and whether the task's rules can run."""
    try:
        task = find_task(settings.task)
        train = _load(task, settings, settings.data.train, "train")
        evaluated = _load(task, settings, settings.data.eval, "eval") if settings.data.eval else []
    except MetapoError as e:
        yield problem("data", e)
        return
    yield from _told(settings, train, evaluated)
    yield from _lengths(settings, train)
    yield from _rules(task, settings, evaluated)


def _load(task: Task, settings: TrainSettings, source: str, split: str) -> list[Prompt]:
    data = settings.data
    hub_split, labels = (data.hub_split, False) if split == "train" else (data.hub_eval_split, True)
    return load_prompts(task, data, source, hub_split=hub_split, labels=labels)


def _told(settings: TrainSettings, train: Sequence[Prompt], evaluated: Sequence[Prompt]) -> Iterator[Found]:
    engine, texts = settings.engine, Counter(prompt.text for prompt in train)
    n_step = engine.batch_size // engine.num_generations
    n_clusters = len({prompt.cluster for prompt in train})
    clusters = f" in {n_clusters} clusters" if n_clusters > 1 else ""
    yield ok("data", f"{len(train)} prompts to train on{clusters}, {len(evaluated)} to evaluate; a step takes {n_step}")
    if n_repeated := len(train) - len(texts):
        commonest, n = texts.most_common(1)[0]
        yield warning(
            "data", f"{n_repeated} prompts repeat another, one of them {n} times: {commonest[:60]!r}. Leave copies out"
        )
    if len(texts) < n_step:
        yield warning("data", f"a step takes {n_step} prompts, of which there are only {len(texts)}: give more of them")
    if n_seen := len(texts.keys() & {prompt.text for prompt in evaluated}):
        yield warning("data", f"{n_seen} prompts of data.eval are trained on: take them out of one of the two")
    labelled = sum(prompt.label is not None for prompt in evaluated)
    if evaluated and find_task(settings.task).measure and not labelled:
        yield warning(
            "data", "no row of data.eval has a label, so there will be no final metric: see data.label_column"
        )


def _lengths(settings: TrainSettings, train: Sequence[Prompt]) -> Iterator[Found]:
    """Tokens, as the policy counts them."""
    try:
        from metapo.engines.machine import context_length, weights_bytes
        from metapo.engines.models import load_tokenizer
        from metapo.engines.prompts import token_ids

        weights_bytes(settings.policy.model)  # tells a model that can't be had at once
        tokenizer = load_tokenizer(settings.policy.model)
        context = context_length(settings.policy.model)
        sample = train if len(train) <= N_MEASURED else Random(settings.seed).sample(list(train), N_MEASURED)
        lengths = [len(token_ids(prompt, tokenizer)) for prompt in sample]
    except MissingExtra:
        return  # told with the packages
    except (MetapoError, OSError, ValueError) as e:
        yield problem("policy", e)
        return
    engine, longest = settings.engine, max(lengths)
    of = f"of {len(lengths)} prompts{'' if sample is train else ' drawn from all'}"
    yield ok("policy", f"reads its prompts as {min(lengths)} to {longest} tokens")
    if engine.max_prompt_tokens is not None and (n := sum(length > engine.max_prompt_tokens for length in lengths)):
        told = f"{n} {of} have more than engine.max_prompt_tokens = {engine.max_prompt_tokens} and are left out"
        yield problem("data", f"{told}: raise it") if n == len(lengths) else warning("data", told)
        longest = max((length for length in lengths if length <= engine.max_prompt_tokens), default=0)
    if context is not None and longest + engine.max_completion_tokens > context:
        yield problem(
            "policy",
            f"a prompt of {longest} tokens and a completion of {engine.max_completion_tokens} don't fit into its "
            f"context of {context}: lower engine.max_prompt_tokens or engine.max_completion_tokens",
        )


def _rules(task: Task, settings: TrainSettings, evaluated: Sequence[Prompt]) -> Iterator[Found]:
    """The task's options, screen, tools and metric, tried before a run needs them; and what TRL says of its own."""
    try:
        task.screen(settings)
        task.tools(settings)
        task.observer(evaluated)
        if settings.engine.algorithm == "ppo":
            from metapo.engines.ppo import config

            config(settings, Path("runs"))
        else:
            from metapo.engines.arguments import trainer_config

            trainer_config(settings, Path("runs"), 1)
    except MissingExtra as e:
        yield problem("task", e)
    except MetapoError as e:
        yield problem("settings", e)
    else:
        yield ok("task", f"{task.name}: its rules, and the arguments of the trainer, hold")
