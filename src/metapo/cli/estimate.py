"""metapo estimate"""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metapo.cli.common import FILE, PRESET, NumberRange, train_settings

if TYPE_CHECKING:
    from metapo.preflight.estimate import Estimate
    from metapo.preflight.ranges import Load, Range
    from metapo.preflight.tokens import Assumptions
    from metapo.rollout import Prompt
    from metapo.settings import TrainSettings

SECONDS = NumberRange(0, min_open=True)
COLUMNS = ("calls", "prompt tokens", "reply tokens", "US dollars")


@click.command()
@click.argument("settings", type=FILE, required=False)
@click.option(
    "--preset", type=PRESET, help="Settings that come with metapo, such as paper/essay; SETTINGS say what differs."
)
@click.option(
    "--completion-tokens",
    type=click.IntRange(1),
    help="What the policy writes (default: a quarter to all of engine.max_completion_tokens).",
)
@click.option(
    "--criteria",
    type=click.IntRange(1),
    help="Criteria that the meta model's rubrics have (default: from the first one's to meta.max_criteria).",
)
@click.option("--latency", type=SECONDS, help="Seconds that a judge's reply takes (default: 0.5 to 10).")
@click.option("--meta-latency", type=SECONDS, help="Seconds that a meta model's reply takes (default: 2 to 30).")
@click.option(
    "--step-seconds", type=SECONDS, help="Seconds that the policy's own part of a step takes (default: not counted)."
)
@click.option("--reply-tokens", type=click.IntRange(1), help="What a judge's reply has, its thoughts included.")
@click.option(
    "--tokenizer", help="Count tokens with that of this model folder or hub id (default: 3 to 5 letters each)."
)
@click.option(
    "--ask", type=click.IntRange(1), help="Ask the judge so many times first, to measure instead of assuming."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def estimate(
    settings: Path | None,
    preset: str | None,
    completion_tokens: int | None,
    criteria: int | None,
    latency: float | None,
    meta_latency: float | None,
    step_seconds: float | None,
    reply_tokens: int | None,
    tokenizer: str | None,
    ask: int | None,
    as_json: bool,
) -> None:
    """Tell what the run of SETTINGS, or of a preset, will ask of its models: calls, tokens, money and time, from-to.

    Prompts are read and requests written out; no model is asked, but with --ask. What is assumed is told.
    """
    from metapo.preflight.estimate import estimate as estimated
    from metapo.shipped import shipped_preset

    if settings is None and preset is None:
        raise click.UsageError("give SETTINGS, --preset NAME or both")
    read = train_settings(settings, shipped_preset(preset)[1] if preset else {})
    prompts, evaluated = _prompts(read)
    told = _assumptions(read, completion_tokens, criteria, latency, meta_latency, reply_tokens, tokenizer)
    if ask is not None:
        told = _measured(read, prompts, told, ask)
    found = estimated(read, prompts, evaluated, told)
    if as_json:
        click.echo(json.dumps(_as_json(found, told), indent=1))
        return
    for line in _table(found):
        click.echo(line)
    for line in _told(read, found, told, len(prompts), step_seconds, is_measured=ask is not None):
        click.echo(line)


def _prompts(settings: "TrainSettings") -> "tuple[list[Prompt], list[Prompt]]":
    """Those of training and evaluation. Raises DataError, SettingsError."""
    from metapo.errors import SettingsError
    from metapo.tasks.loading import find_task, load_prompts

    if settings.task == "world":
        raise SettingsError("the offline world's judge and meta model are rules in this process: they cost nothing")
    task, data = find_task(settings.task), settings.data
    train = load_prompts(task, data, data.train, hub_split=data.hub_split, labels=False)
    if not data.eval:
        return train, []
    return train, load_prompts(task, data, data.eval, hub_split=data.hub_eval_split, labels=False)


def _assumptions(
    settings: "TrainSettings",
    completion_tokens: int | None,
    criteria: int | None,
    latency: float | None,
    meta_latency: float | None,
    reply_tokens: int | None,
    tokenizer: str | None,
) -> "Assumptions":
    from metapo.preflight.ranges import Range, exactly
    from metapo.preflight.tokens import JUDGE_S, META_S, Assumptions

    most, n = settings.engine.max_completion_tokens, len(settings.rubric.criteria)
    return Assumptions(
        completion_tokens=exactly(completion_tokens) if completion_tokens else Range(most / 4, most),
        criteria=exactly(criteria)
        if criteria
        else Range(min(n, settings.meta.max_criteria), settings.meta.max_criteria),
        reply_tokens=exactly(reply_tokens) if reply_tokens else None,
        count=_counter(tokenizer) if tokenizer else None,
        judge_s=exactly(latency) if latency else JUDGE_S,
        meta_s=exactly(meta_latency) if meta_latency else META_S,
    )


def _counter(tokenizer: str) -> Any:
    from metapo.engines.models import load_tokenizer

    loaded = load_tokenizer(tokenizer)
    return lambda text: len(loaded(text, add_special_tokens=False)["input_ids"])


def _measured(settings: "TrainSettings", prompts: "list[Prompt]", told: "Assumptions", n: int) -> "Assumptions":
    from metapo.engines.connect import open_transport
    from metapo.preflight.measure import measure

    async def ask() -> "Assumptions":
        transport = open_transport(settings.judge)
        try:
            return await measure(settings, prompts, transport, told, n)
        finally:
            await transport.aclose()

    return asyncio.run(ask())


# --- as people read it


def _table(found: "Estimate") -> Iterable[str]:
    from metapo.preflight.estimate import once

    several = len(once([part.endpoint for part in found.parts])) > 1
    names = [f"{part.name}, {part.endpoint.model}" if several else part.name for part in found.parts]
    cells = [_cells(part.load, part.usd) for part in found.parts]
    rows = [("", *COLUMNS), *zip(names, *zip(*cells, strict=True), strict=True), ("all", *_cells(found.all, found.usd))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for name, *figures in rows:
        yield "  ".join(
            [name.ljust(widths[0]), *(f.rjust(w) for f, w in zip(figures, widths[1:], strict=True))]
        ).rstrip()


def _cells(load: "Load", usd: "Range | None") -> tuple[str, str, str, str]:
    money = "no price" if usd is None else _span(usd, lambda n: f"{n:,.2f}")
    return _span(load.calls.whole), _span(load.prompt_tokens, _rough), _span(load.reply_tokens, _rough), money


def _span(range_: "Range", shown: Any = lambda n: f"{n:,.0f}") -> str:
    low, high = shown(range_.low), shown(range_.high)
    return low if low == high else f"{low} to {high}"


def _rough(n: float) -> str:
    """Two digits, as no more are known."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if n >= unit:
            return f"{n / unit:.2g}{name}" if n < 100 * unit else f"{n / unit:.0f}{name}"
    return f"{n:.0f}"


def _duration(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 100 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.2g} s"


def _told(
    settings: "TrainSettings",
    found: "Estimate",
    told: "Assumptions",
    n_prompts: int,
    step_seconds: float | None,
    *,
    is_measured: bool,
) -> Iterable[str]:
    from metapo.preflight.ranges import exactly

    engine = settings.engine
    n_each = engine.batch_size // engine.num_generations
    yield ""
    n_completions = engine.num_generations
    yield f"{engine.steps} steps of {n_each} prompts with {n_completions} completions each, of {n_prompts} prompts"
    yield f"{_span(found.n_meta_steps)} meta steps, {found.n_evaluations} evaluations"
    if found.n_meta_steps.high > found.n_meta_steps.low:
        yield "  how many is up to the run: meta.budget.steps bounds them, meta.budget.usd what they cost"
    judging, meta = found.seconds_judging, found.seconds_meta
    own = exactly((step_seconds or 0) * engine.steps)
    yield f"time: {_span(judging + meta + own, _duration)}"
    yield f"  of it the judges {_span(judging, _duration)}, meta steps that training waits for {_span(meta, _duration)}"
    if step_seconds is None:
        yield "  generation and updates, which no model is asked for, are not in it; --step-seconds says what they take"
    yield f"{'measured' if is_measured else 'assumed'}:"
    yield f"  a judge's reply takes {_span(told.judge_s, _duration)}, a meta model's {_span(told.meta_s, _duration)}"
    if told.count is None:
        yield f"  a token has {_span(told.chars_per_token, lambda n: f'{n:.2g}')} letters"
    if is_measured:
        yield "assumed:"
    yield f"  a completion has {_span(told.completion_tokens)} tokens"
    yield f"  a rubric of the meta model's has {_span(told.criteria)} criteria"
    yield "  every reply is clear, no completion is like another, the judge is asked about each, one process trains"


def _as_json(found: "Estimate", told: "Assumptions") -> dict[str, Any]:
    def ends(range_: "Range | None") -> list[float] | None:
        return None if range_ is None else [range_.low, range_.high]

    def load(of: "Load", usd: "Range | None") -> dict[str, Any]:
        tokens = {"prompt_tokens": ends(of.prompt_tokens), "reply_tokens": ends(of.reply_tokens)}
        return {"calls": ends(of.calls.whole), **tokens, "usd": ends(usd)}

    assumed = {"completion_tokens", "criteria", "chars_per_token", "reply_tokens", "judge_s", "meta_s"}
    return {
        "parts": [
            {"name": p.name, "model": p.endpoint.model, "at": p.endpoint.where, **load(p.load, p.usd)}
            for p in found.parts
        ],
        "all": load(found.all, found.usd),
        "meta_steps": ends(found.n_meta_steps),
        "evaluations": found.n_evaluations,
        "seconds_judging": ends(found.seconds_judging),
        "seconds_meta": ends(found.seconds_meta),
        "assumed": {name: ends(getattr(told, name)) for name in sorted(assumed)},
    }
