"""The model card of a trained policy: what a run's folder has on record, as RUN/policy/README.md in the form of the
Hugging Face hub. Whatever models and people wrote stands in fences or code, so that it is read and not rendered."""

import platform
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from metapo.errors import MissingExtra, RunError
from metapo.files import read_rows, write_whole
from metapo.history import history
from metapo.judge.endpoint import Endpoint
from metapo.judge.neutral import neutralize
from metapo.judge.template import fence
from metapo.pages import load_page
from metapo.rollout import Split
from metapo.rubric import Frozen, describe
from metapo.rubric_text import render_rubric
from metapo.run import MARKER, METRICS, POLICY, STORE
from metapo.settings import DataSettings, LoraSettings, TrainSettings
from metapo.store import Store

CARD = "README.md"
LAST_STEPS = 10
SOFTWARE = ("metapo", "torch", "transformers", "trl")
ROLES = ("judge", "monitor", "meta")
TOLD_ELSEWHERE = ("judge/", "flag/", "flagged", "hacking/", "n_rollouts", "unscored")
Facts = list[tuple[str, str]]
Rows = Sequence[Mapping[str, Any]]


class Origin(Frozen):
    """What went into a policy and is nowhere else on record: how many prompts were short enough, software, and the ids
    on the hub of the base model and the data set, None for files and folders. Written beside the policy when it is
    saved."""

    n_train: int
    n_eval: int
    software: dict[str, str]
    base_model: str | None = None
    dataset: str | None = None


def origin_of(settings: TrainSettings, n_train: int, n_eval: int) -> Origin:
    """As things stand in this process: to be called where the policy is trained."""
    software = {"python": platform.python_version(), **{name: version(name) for name in SOFTWARE}}
    if settings.task == "world":
        return Origin(n_train=n_train, n_eval=n_eval, software=software)
    base_model, dataset = hub_id(settings.policy.model), hub_id(settings.data.train)
    return Origin(n_train=n_train, n_eval=n_eval, software=software, base_model=base_model, dataset=dataset)


def hub_id(source: str) -> str | None:
    """`source` where it is an id on the hub, None where it is a file or a folder."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    path = Path(source)
    if path.exists() or path.suffix in (".jsonl", ".json", ".parquet"):
        return None
    try:
        validate_repo_id(source)
    except HFValidationError:
        return None
    return source


def write_card(folder: Path, settings: TrainSettings) -> Path:
    """Write the card of the policy in a run's folder anew; returns its path. The same folder gives the same card.

    Raises RunError where there is no policy yet, StoreError, MissingExtra.
    """
    path = policy_of(folder) / CARD
    write_whole(path, render_card(folder, settings))
    return path


def policy_of(folder: Path) -> Path:
    """The folder with the policy of a run. Raises RunError where there is none yet."""
    policy = folder / POLICY
    if policy.is_dir():
        return policy
    raise RunError(
        f"there is no trained policy in {policy}. A run that metapo train began has one at its end: metapo train "
        f"--resume {folder}"
    )


def render_card(folder: Path, settings: TrainSettings) -> str:
    """The card's text. Raises RunError, StoreError, MissingExtra."""
    origin = _read_origin(folder / POLICY / MARKER)
    rows = list(read_rows(folder / METRICS))
    train, evaluated = ([row for row in rows if row["kind"] == split.value] for split in (Split.TRAIN, Split.EVAL))
    with closing(Store(folder / STORE)) as store:
        lines = [f"step {step:>5}  {text}" for step, text in history(store)]
        lineages = {cluster: store.lineage(cluster) for cluster in store.clusters() or [""]}
        answered_by, spent = store.answered_by(), {role: store.spent([role]) for role in ROLES}
        total = store.spent()
    return load_page("card.md").render(
        metadata=_metadata(settings, origin),
        name=code(folder.resolve().name),
        algorithm=settings.engine.algorithm.upper(),
        world=settings.task == "world",
        task=verbatim(settings.task_description),
        parts=_parts(settings, origin),
        answered_by=[(role, code(who)) for role, who in answered_by.items()],
        engine=_engine(settings),
        n_revisions=len({revision.id for lineage in lineages.values() for _, revision in lineage}),
        n_clusters=len(lineages),
        history=verbatim("\n".join(lines)),
        rubrics=[
            (code(c), verbatim(render_rubric(lineage[-1][1].rubric))) for c, lineage in lineages.items() if lineage
        ],
        n_last=len(train[-LAST_STEPS:]),
        figures=_figures(train[:1], train[-LAST_STEPS:], evaluated[-1:]),
        detectors=_detectors(train[-LAST_STEPS:]),
        onset=_onset(train),
        unscored=[("training", _share(train, "unscored")), ("evaluation", _share(evaluated, "unscored"))],
        spent=[(role, str(of)) for role, of in spent.items() if of.n_calls] + [("all", str(total))],
        software=[(name, code(number)) for name, number in origin.software.items()] if origin else [],
        settings=fence("yaml", settings.to_yaml().rstrip("\n")),
    )


# --- parts of the card, as pairs of a name and what stands beside it


def _metadata(settings: TrainSettings, origin: Origin | None) -> str:
    """The front matter, as the hub reads it. Only ids that are known to be on the hub are named as such."""
    try:
        from huggingface_hub import ModelCardData
    except ImportError as e:
        raise MissingExtra("trl", "a model card") from e
    data = ModelCardData(
        base_model=origin.base_model if origin else None,
        datasets=[origin.dataset] if origin and origin.dataset else None,
        library_name="peft" if settings.policy.lora else "transformers",
        pipeline_tag="text-generation",
        tags=["metapo", "trl", settings.engine.algorithm, "reinforcement-learning"],
    )
    return str(data.to_yaml())


def _engine(settings: TrainSettings) -> Facts:
    """What the algorithm reads of the engine's settings."""
    fields = settings.engine.model_dump()
    own = {f"ppo.{name}": value for name, value in fields.pop("ppo").items()}
    if settings.engine.algorithm == "ppo":
        fields |= own
    else:
        del fields["unscored"]
    return [(name, code(value)) for name, value in fields.items() if value is not None]


def _parts(settings: TrainSettings, origin: Origin | None) -> Facts:
    """Where the policy comes from, what it was trained on, and who judged."""
    data, meta = settings.data, settings.meta
    n_prompts = {"train": origin.n_train, "eval": origin.n_eval} if origin else {}
    panel = settings.panel.judges if settings.panel else ()
    return [
        ("base model", code(settings.policy.model)),
        ("what was trained", _trained(settings.policy.lora)),
        ("task", code(settings.task)),
        ("training prompts", f"{code(data.train)}, {_prompts(n_prompts.get('train'))}"),
        ("evaluation prompts", f"{code(data.eval)}, {_prompts(n_prompts.get('eval'))}" if data.eval else "none"),
        ("columns", _columns(data) or "the task's own"),
        ("judge", _endpoint(settings.judge)),
        *(("panel, beside the judge", _endpoint(judge)) for judge in panel),
        *([("monitor, never rewarded", _endpoint(settings.monitor.judge))] if settings.monitor else ()),
        ("meta model", _endpoint(meta.endpoint) if meta.endpoint else "where the judge is"),
    ]


def _endpoint(endpoint: Endpoint) -> str:
    return f"{code(endpoint.model)} at {code(endpoint.where)}"


def _trained(lora: LoraSettings | None) -> str:
    if lora is None:
        return "all weights"
    targets = lora.targets if isinstance(lora.targets, str) else ", ".join(lora.targets)
    return f"a LoRA adapter of rank {lora.rank}, alpha {lora.alpha}, on {code(targets)}: it needs the base model"


def _columns(data: DataSettings) -> str:
    """Those that the settings name."""
    clusters = (data.cluster_column,) if isinstance(data.cluster_column, str) else data.cluster_column or ()
    named = {
        "prompt": [data.prompt_column],
        "reference": [data.reference_column],
        "label": [data.label_column],
        "cluster": clusters,
    }
    given = {role: [code(column) for column in columns if column] for role, columns in named.items()}
    return ", ".join(f"{role} {' and '.join(columns)}" for role, columns in given.items() if columns)


def _prompts(n: int | None) -> str:
    return "how many is not on record" if n is None else f"{n} in all"


def _figures(*parts: Rows) -> list[tuple[str, ...]]:
    """A row per figure, with its mean over each part's steps, "" where it has none."""
    names = dict.fromkeys(k for part in reversed(parts) for row in part for k, v in row.items() if _is_figure(k, v))
    return [(code(name), *(_share(part, name, form=".3f") for part in parts)) for name in names]


def _is_figure(name: str, value: Any) -> bool:
    return isinstance(value, int | float) and name != "step" and not name.startswith(TOLD_ELSEWHERE)


def _detectors(last: Rows) -> Facts:
    """The share of flagged rollouts in all and by detector."""
    names = sorted({name for row in last for name in row if name.startswith("flag/")})
    by_detector = [(code(name.removeprefix("flag/")), _share(last, name, missing=0.0)) for name in names]
    return [("any", _share(last, "flagged")), *by_detector]


def _onset(train: Rows) -> str:
    if not any("monitor/gap" in row for row in train):
        return "not known: the run had no monitor, and without one there is nothing to compare the judge's score with"
    found = [row["hacking/onset"] for row in train if "hacking/onset" in row]
    if not found:
        return "not found"
    return f"found at step {found[-1]:g}: from there on the judge's score outgrew the monitor's"


def _share(rows: Rows, name: str, *, form: str = ".1%", missing: float | None = None) -> str:
    """The mean of a figure over rows, each as heavy as its rollouts; "" where no row has it."""
    known = [(row["n_rollouts"], row.get(name, missing)) for row in rows if row.get(name, missing) is not None]
    return format(sum(n * value for n, value in known) / sum(n for n, _ in known), form) if known else ""


# --- text that others wrote


def verbatim(text: str) -> str:
    """A text of several lines that Markdown leaves as it is."""
    return fence("text", neutralize(text))


def code(value: object) -> str:
    """A short text as code in one line, fit for a cell of a table: between more backticks than it holds in a row."""
    text = " ".join(neutralize(str(value)).split()).replace("|", "\\|")
    if not text:
        return ""
    marks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{marks}{pad}{text}{pad}{marks}"


def _read_origin(path: Path) -> Origin | None:
    """None for a policy of a version that wrote none. Raises RunError for one that can't be read."""
    if not path.exists():
        return None
    try:
        return Origin.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as e:
        why = describe(e) if isinstance(e, ValidationError) else e.reason
        raise RunError(f"{path} is not what metapo wrote: {why}. Take it away to do without.") from e
