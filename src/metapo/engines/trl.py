"""TRL's trainers: an evolving rubric as one reward function and one callback, no trainer subclassed.

GRPOTrainer and RLOOTrainer take both as they are; what PPOTrainer needs besides is in `metapo.engines.ppo`.

Every rank judges its own completions. When an optimizer step ends, the rows of all ranks are gathered, the first
rank writes them and runs the meta step when it is due, and its answer (revision in force, error) is broadcast: all
ranks score the next step under the same revision, or all stop.
"""

import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from metapo.bridge import Bridge
from metapo.card import Origin, origin_of, write_card
from metapo.course import Boundary
from metapo.engines.connect import connect
from metapo.engines.prompts import dataset, fit, reading_order
from metapo.engines.ranks import rank, world_size
from metapo.engines.tools import tool_loop
from metapo.errors import MetapoError, MissingExtra, ModelError, RunError
from metapo.files import whole_folder, write_whole
from metapo.judge.transport import Transport
from metapo.meta.pairs import Pair
from metapo.meta.step import Senses
from metapo.records import records_of, take_records
from metapo.reward import Observe, Scored, Screen, observe_nothing, screen_nothing
from metapo.rollout import Prompt, Rollout, Split, as_text, completion_text
from metapo.rubric import Revision
from metapo.run import MARKER, POLICY, STORE, Run
from metapo.scorer import ByCluster, Connections, Scorer
from metapo.settings import Settings, TrainSettings
from metapo.store import CallRecord, KnownAnswers
from metapo.tasks.own import check_task, keep_task

try:
    from accelerate.utils import broadcast_object_list, gather_object
    from safetensors import SafetensorError
    from transformers import PrinterCallback, TrainerCallback, set_seed
    from transformers.utils.logging import disable_progress_bar
    from trl import GRPOTrainer, RLOOTrainer

    from metapo.engines.arguments import trainer_config
    from metapo.engines.models import load_tokenizer, lora
except ImportError as e:
    raise MissingExtra("trl", "training with TRL") from e

log = logging.getLogger(__name__)
T = TypeVar("T")
NEARLY_FULL_BYTES = 64 * 2**20


class EvolvingReward:
    """The reward function; `callback` goes into the same trainer.

    A rollout that could not be judged gets None, which TRL leaves out of its group. Raises JudgeFailureLimit (or the
    error that a rank met) at the end of training when the run was stopped, after a checkpoint.
    """

    __name__ = "metapo"

    def __init__(
        self,
        run: Run | None,
        settings: Settings,
        connections: Connections,
        bridge: Bridge,
        known: KnownAnswers | None = None,
        screen: Screen = screen_nothing,
    ) -> None:
        """`run` is None on every rank but the first; connections and known answers are closed with the reward."""
        self.callback = _Callback(self)
        first = Revision(rubric=settings.rubric, reason="not begun", proposer="settings", step=0)
        self.scorer = Scorer(settings, connections, run.revision if run else first, known, screen)
        self._run = run
        self._connections = connections
        self._bridge = bridge
        self._known = known
        self._scored: list[Scored] = []
        self._error: MetapoError | None = None
        self._policy: Any = None
        self._counter: tuple[Split, int, int] = (Split.TRAIN, -1, 0)
        self._figures: Mapping[str, float] = {}

    @classmethod
    def open(
        cls,
        folder: str | Path,
        settings: Settings,
        *,
        resume: bool = False,
        judge: Transport | None = None,
        meta: Transport | None = None,
        observe: Observe = observe_nothing,
        screen: Screen = screen_nothing,
        anchors: Sequence[Pair] = (),
    ) -> "EvolvingReward":
        """Start a run in `folder`, or go on with the one in it. Call it on every rank, before the trainer is made.

        Each endpoint is asked for one token first, so that a wrong address or key shows before anything is written.
        `judge` and `meta` replace the transports to the endpoints in the settings; `observe` adds figures to the
        metrics of each step; `screen` scores what the judge need not see; `anchors` are pinned in a new run beside
        those of the settings.
        Raises ChatError, RunExists, RunInUse, RunError, SettingsError.
        """
        connections = connect(settings, judge=judge, meta=meta)
        bridge, run = Bridge(), None
        if rank() == 0:
            try:
                log.info("asking who answers at %s", settings.judge.where)
                answered_by = bridge.run(connections.identify())
                for who in dict.fromkeys(answered_by.values()):
                    log.info("%s answers", who)
                start = Run.resume if resume else partial(Run.create, anchors=anchors)
                run = start(
                    Path(folder),
                    settings,
                    connections.meta,
                    observe=observe,
                    answered_by=answered_by,
                    ledger=connections.ledger,
                )
            except BaseException:
                bridge.run(connections.aclose())
                bridge.close()
                raise
        return cls(run, settings, connections, bridge, _known_answers(Path(folder)), screen)

    def __call__(self, prompts: list[Any], completions: list[Any], **columns: Any) -> list[float | None]:
        """Judge one batch of completions under the revision in force; one reward each, in order.

        Of the dataset's columns, `reference` and `cluster` belong to the rollouts, and `prompt_text` stands for prompts
        that a chat template has been applied to. `completion_messages`, as a `rollout_func` hands it on, stands for
        completions that TRL would show as one text although they have several turns. Raises DataError for messages
        that can't be read.
        """
        step = columns["trainer_state"].global_step
        asked = columns.get("prompt_text") or [as_text(prompt) for prompt in prompts]
        answers = columns.get("completion_messages") or completions
        references = columns.get("reference") or [None] * len(prompts)
        clusters = columns.get("cluster") or [""] * len(prompts)
        training = self._policy is not None and self._policy.training
        split = Split.TRAIN if training else Split.EVAL
        first = self._next_position(split, step, len(prompts))
        rollouts = [
            Rollout(
                prompt=prompt,
                completion=completion_text(answer),
                reference=None if reference is None else str(reference),
                split=split,
                step=step,
                position=(first + i) * world_size() + rank(),
                cluster=cluster,
            )
            for i, (prompt, answer, reference, cluster) in enumerate(
                zip(asked, answers, references, clusters, strict=True)
            )
        ]
        try:
            scored = self._bridge.run(self.scorer.score(rollouts))
            if self._known is not None:
                self._known.flush()
        except MetapoError as e:  # the step's end tells all ranks; one that stopped here would leave them waiting
            self._error = e
            scored = self.scorer.unscored(rollouts, e)
        self._scored += scored
        if log_metric := columns.get("log_metric"):
            _log(log_metric, scored, self.scorer.in_force)
            for name, value in self._figures.items() if training else ():
                log_metric(name, value)
        return [s.reward.value for s in scored]

    @property
    def error(self) -> MetapoError | None:
        """What the last batch or evaluation met, if anything."""
        return self._error

    def close(self) -> None:
        """Give the folder free and close the connections; call it when training is over."""
        with ExitStack() as stack:  # each is closed, also where another's closing fails
            if self._run is not None:
                stack.callback(self._run.close)
                # of a step that came to no end
                stack.callback(self._run.record_calls, [r for s in self._scored for r in records_of(s)])
            if self._known is not None:
                stack.callback(self._known.close)
            stack.callback(self._bridge.close)
            stack.callback(lambda: self._bridge.run(self._connections.aclose()))
            if self._run is not None:  # first of all: a meta step whose connections close would end as a failed one
                self._bridge.run(self._run.interrupt())

    def begin(self, step: int, policy: Any, n_steps: int | None = None) -> None:
        """Training starts, or goes on, after `step` steps; it ends after `n_steps`, if that is known."""

        def go_on(run: Run) -> ByCluster:
            self._bridge.run(run.interrupt())  # a meta step of the training before, where the trainer trains once more
            return run.begin(step, n_steps)

        self._policy = policy
        self._error = None
        self.scorer.in_force = self.on_main(go_on)

    def refuse(self, step: int, max_unscored: float) -> MetapoError | None:
        """May the step after `step` steps be trained on? For engines that can leave no completion out, once each rank
        has judged its part of the batch. Where a rank met an error, or more than the share `max_unscored` (0 to 1) has
        no reward, the batch goes on record and the error that ends the run is returned, the same on every rank."""
        n_unscored = sum(s.reward.value is None for s in self._scored)
        failed, unscored, n = zip(
            *gather_object([(self._error is not None, n_unscored, len(self._scored))]), strict=True
        )
        if any(failed) or sum(unscored) / sum(n) > max_unscored:
            return self.end_step(step, max_unscored)
        return None

    def end_step(self, step: int, max_unscored: float | None = None) -> MetapoError | None:
        """An optimizer step is over on all ranks; returns the error that ends the run, the same on every rank.
        `max_unscored` replaces that of the settings."""
        errors = [e for e in gather_object([self._error]) if e is not None]
        scored, others = self._take()
        error = errors[0] if errors else None
        senses = Senses(self.scorer.appraise, self.scorer.explain, self.scorer.aggregate)
        boundary: Boundary = self.on_main(
            lambda run: self._bridge.run(
                run.end_step(step, scored, error, others=others, senses=senses, max_unscored=max_unscored)
            )
        )
        self.scorer.in_force, self._figures = boundary.in_force, boundary.figures
        return boundary.error

    def end_evaluation(self) -> MetapoError | None:
        """An evaluation is over on all ranks; returns the error that it met, the same on every rank. In training the
        next step's end stops the run for it. Before training began there is no step to record it under: only its calls
        are on record."""
        errors = [e for e in gather_object([self._error]) if e is not None]
        scored, others = self._take()
        if self._policy is None:
            self.on_main(lambda run: run.record_calls([*others, *(r for s in scored for r in records_of(s))]))
        else:
            failure = self.on_main(lambda run: run.record_eval(scored, others))
            self._error = errors[0] if errors else failure
        return self._error

    def record_trainer(self, step: int, logs: Mapping[str, Any]) -> None:
        """Keep the trainer's own figures of a step."""
        if self._run is not None:
            self._run.record_trainer(step, {k: float(v) for k, v in logs.items() if isinstance(v, int | float)})

    def on_main(self, work: Callable[[Run], T]) -> T:
        """What `work` returns on the first rank, on every rank; its MetapoError is raised on every rank too."""
        outcome: list[Any] = [None, None]
        if self._run is not None:
            try:
                outcome[0] = work(self._run)
            except MetapoError as e:
                outcome[1] = e
        if world_size() > 1:
            broadcast_object_list(outcome)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result

    def _take(self) -> tuple[list[Scored], list[CallRecord]]:
        """What all ranks judged since the last time, and their calls that belong to none of it."""
        scored, self._scored = self._scored, []
        others = gather_object(take_records(self._connections.ledger))
        in_order = sorted(gather_object(scored), key=lambda s: (s.rollout.split, s.rollout.step, s.rollout.position))
        return in_order, others

    def _next_position(self, split: Split, step: int, n: int) -> int:
        known_split, known_step, position = self._counter
        if (known_split, known_step) != (split, step):
            position = 0
        self._counter = (split, step, position + n)
        return position


class _Callback(TrainerCallback):  # type: ignore[misc]
    """Tells the reward when training begins, steps end and checkpoints are written."""

    def __init__(self, reward: EvolvingReward) -> None:
        self._reward = reward
        self._stop: MetapoError | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self._stop = None
        self._reward.begin(state.global_step, model, state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._stop = self._reward.end_step(state.global_step)
        if self._stop is not None:
            control.should_training_stop = True
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._reward.end_evaluation()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self._reward.record_trainer(state.global_step, logs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self._reward.on_main(lambda run: run.checkpoint(state.global_step, folder))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._stop is not None:
            raise self._stop


def train(
    settings: TrainSettings,
    folder: Path,
    prompts: Sequence[Prompt],
    eval_prompts: Sequence[Prompt] = (),
    *,
    resume: bool = False,
    model: str | None = None,
    tokenizer: Any = None,
    judge: Transport | None = None,
    meta: Transport | None = None,
    observe: Observe = observe_nothing,
    screen: Screen = screen_nothing,
    anchors: Sequence[Pair] = (),
    tools: Sequence[Callable[..., Any]] = (),
    eval_generations: int = 1,
) -> None:
    """Train a policy to the end of its settings, then evaluate and write it, with a card, to `folder`/policy.

    `screen` scores what the judge need not see; `observe` adds figures to the metrics of each step. The policy may call
    `tools` that its prompts `offer`. `model` and `tokenizer` replace those that the settings name. An evaluation writes
    `eval_generations` completions to each prompt. A finished run is left as it is; one whose task file has changed is
    refused. Raises ModelError, SettingsError, MissingExtra, RunError, ChatError (no judge), JudgeFailureLimit.
    """
    if resume and (folder / POLICY).exists():
        log.info("the run in %s is finished: nothing is left to do", folder)
        return
    if resume:
        check_task(settings.task, folder)
    model = model or settings.policy.model
    tokenizer = tokenizer or load_tokenizer(model)
    config = _config(settings, folder, eval_generations)
    if settings.engine.algorithm == "ppo":
        _check_padding(tokenizer, model)
    with_tools = tool_loop(tools, settings, tokenizer)
    fitting = fit(prompts, tokenizer, settings.engine.max_prompt_tokens, "training")
    eval_prompts = fit(eval_prompts, tokenizer, settings.engine.max_prompt_tokens, "evaluation")
    rows = partial(dataset, tokenizer=tokenizer, tools_run=bool(tools))
    disable_progress_bar()
    reward = EvolvingReward.open(
        folder, settings, resume=resume, judge=judge, meta=meta, observe=observe, screen=screen, anchors=anchors
    )
    with closing(reward), _disk_watched(folder):
        if not resume:
            reward.on_main(lambda run: keep_task(settings.task, run.folder))
        ordered = [fitting[i] for i in reading_order(settings, len(fitting))]
        if settings.engine.algorithm == "ppo":
            trainer = _ppo(settings, config, model, tokenizer, ordered, eval_prompts, reward, eval_generations)
        else:
            data = {"train_dataset": rows(ordered), "eval_dataset": rows(eval_prompts) if eval_prompts else None}
            trainer = _of_groups(
                settings, reward, model=model, args=config, processing_class=tokenizer, **data, **with_tools
            )
        checkpoint = reward.on_main(lambda run: run.latest_checkpoint()) if resume else None
        trainer.train(resume_from_checkpoint=str(checkpoint[1]) if checkpoint else None)
        if eval_prompts:
            _evaluate(trainer, reward, settings)
        _save_policy(trainer, folder / POLICY, origin_of(settings, len(fitting), len(eval_prompts)))
    if rank() == 0:
        write_card(folder, settings)  # now that every call is on record


def _of_groups(settings: TrainSettings, reward: EvolvingReward, **arguments: Any) -> Any:
    """A trainer that compares the completions of one prompt."""
    trainer_class = GRPOTrainer if settings.engine.algorithm == "grpo" else RLOOTrainer
    adapter = lora(settings.policy.lora) if settings.policy.lora else None
    trainer = trainer_class(reward_funcs=reward, callbacks=[reward.callback], peft_config=adapter, **arguments)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _check_padding(tokenizer: Any, model: str) -> None:
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ModelError(
            f"the tokenizer in {model} pads with its end token {tokenizer.eos_token!r}, so PPO can't teach when to "
            "end. Save one there that has a pad token of its own."
        )


def _evaluate(trainer: Any, reward: EvolvingReward, settings: TrainSettings) -> None:
    """Evaluate the trained policy, unless that is on record already. Raises the error that the evaluation met."""
    if reward.on_main(lambda run: run.is_evaluated(settings.engine.steps)):
        return
    set_seed(settings.seed)  # the same completions, whether the run went on after an interruption or not
    trainer.evaluate()
    if reward.error is not None:
        raise reward.error


@contextmanager
def _disk_watched(folder: Path) -> Iterator[None]:
    """Raises RunError for a full disk. Each writer reports it in its own words, so the disk itself is asked."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as e:
        n_free = shutil.disk_usage(folder).free
        if n_free > NEARLY_FULL_BYTES:
            raise
        raise RunError(
            f"the disk that holds {folder} has only {n_free / 1e6:.1f} MB left, and writing failed: {e}. "
            "Free some space, then resume the run."
        ) from e


def _save_policy(trainer: Any, folder: Path, origin: Origin) -> None:
    """Write the model, and what went into it, on the first rank; the others take part where it is sharded. Raises
    RunError where TRL wrote no weights."""
    if trainer.accelerator.is_main_process:
        with whole_folder(folder) as draft:
            trainer.save_model(str(draft))
            if not any(draft.glob("*.safetensors")):
                raise RunError(
                    f"TRL wrote no weights for {folder}; the last checkpoint has them. Under FSDP they are gathered "
                    "with fsdp_state_dict_type: FULL_STATE_DICT, under DeepSpeed ZeRO-3 with "
                    "zero3_save_16bit_model: true. Set that, then resume the run."
                )
            write_whole(draft / MARKER, origin.model_dump_json(indent=1))
    else:
        trainer.save_model(str(folder))
    trainer.accelerator.wait_for_everyone()


def _ppo(settings: TrainSettings, *parts: Any) -> Any:
    """A trainer whose every batch is one of PPO's. Raises MissingExtra, ModelError, SettingsError."""
    from metapo.engines.ppo import PPO

    return PPO(settings, *parts)


def _config(settings: TrainSettings, folder: Path, eval_generations: int = 1) -> Any:
    if settings.engine.algorithm != "ppo":
        return trainer_config(settings, folder, world_size(), eval_generations)
    from metapo.engines.ppo import config

    return config(settings, folder)


def _log(log_metric: Callable[[str, float], None], scored: Sequence[Scored], in_force: ByCluster) -> None:
    """Show a batch in the trainer's own log; criteria only where all clusters have the same ones. Every rank logs the
    same names, since TRL gathers name by name: they follow from what is in force, not from the batch."""
    log_metric("judge/unscored", sum(s.reward.value is None for s in scored) / len(scored))
    log_metric("judge/normalized", _mean([s.reward.normalized for s in scored]))
    log_metric("judge/raw", _mean([s.reward.raw for s in scored]))
    rubrics = {one.revision.rubric.digest: one.revision.rubric for one in in_force.values()}
    log_metric("rubric/criteria", _mean([len(rubric.criteria) for rubric in rubrics.values()]))
    log_metric("rubric/words", _mean([rubric.n_words for rubric in rubrics.values()]))
    if len(rubrics) > 1:
        return
    [rubric] = rubrics.values()
    known = {one.revision.id for one in in_force.values()}
    parts = [part for s in scored if s.revision_id in known for part in s.reward.parts]
    for criterion in rubric.criteria:
        log_metric(f"criterion/{criterion.id}", _mean([p.points for p in parts if p.criterion_id == criterion.id]))


def _mean(figures: Sequence[float | None]) -> float:
    """Of those that are known; nan where none is."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else math.nan


def _known_answers(folder: Path) -> KnownAnswers | None:
    """The verdict cache in the run's store, for the processes of the machine that holds the store; the others remember
    verdicts for as long as they live."""
    on_first_machine = os.environ.get("LOCAL_RANK", "0") == os.environ.get("RANK", "0")
    return KnownAnswers(folder / STORE) if on_first_machine else None
