"""The command line, in isolated folders: exit codes, and messages that say what to do."""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner, Result

from metapo.cli import main
from metapo.cli.common import read_rollouts
from metapo.cli.world import compare
from metapo.files import write_whole
from metapo.rollout import Rollout, as_text
from metapo.rubric import Revision, Rubric
from metapo.rubric_text import parse_rubric, render_rubric
from metapo.run import SETTINGS, STORE
from metapo.store import BegunRecord, MetaStepRecord, ProposalRecord, RolloutRecord, Store
from metapo.world.compare import ARMS
from metapo.world.presets import RESULT, TUNING_SEEDS, arm_settings, preset_rubric
from tests.helpers import criterion, rubric
from tests.servers import ChatServer, in_turn, refused_url, says, status, verdicts

ONE = rubric(criterion("depth", (0, 2, 5)), criterion("talk", (-3, 0)))
TWO = rubric(criterion("depth", (0, 2, 6)), criterion("style", (0, 1)))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test works in a folder of its own, which holds two rubrics."""
    monkeypatch.chdir(tmp_path)
    Path("one.yaml").write_text(ONE.to_yaml())
    Path("two.yaml").write_text(TWO.to_yaml())
    return tmp_path


def call(*arguments: object) -> Result:
    """Run a command; what it raises apart from its own exit is a failure of the test."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def output(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def error(*arguments: object, code: int = 1) -> str:
    """What a command that fails says, without "Error: "; nothing goes to the standard output."""
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert "Traceback" not in result.stderr
    return result.stderr[result.stderr.index("Error: ") + len("Error: ") :].strip()


# --- the program


def commands(command: click.Command, *names: str) -> Iterator[tuple[str, ...]]:
    yield names
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            yield from commands(part, *names, name)


@pytest.mark.parametrize("names", list(commands(main)), ids=" ".join)
def test_every_command_has_help(names: tuple[str, ...]) -> None:
    assert output(*names, "--help").startswith(f"Usage: main {' '.join(names)}".strip())


def test_version() -> None:
    assert output("--version").strip().endswith(f"version {version('metapo')}")


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from metapo.cli import main\n"
        "main(['--help'], standalone_mode=False); main(['world', 'compare', '--help'], standalone_mode=False)\n"
        "print(*sorted({'torch', 'transformers', 'trl', 'datasets', 'pydantic', 'sqlalchemy'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: " in done.stdout
    assert done.stdout.splitlines()[-1] == ""


def test_python_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "metapo", "rubric", "lint", "gone.yaml"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: can't read the rubric gone.yaml: No such file or directory.")


@pytest.mark.parametrize("names", [["nonsense"], ["world", "nonsense"], ["rubric"], ["rubric", "show"], ["score"]])
def test_a_wrong_call_is_a_usage_error(names: list[str]) -> None:
    assert call(*names).exit_code == 2


# --- a run for the commands that read one


def meta_step(
    step: int, parent: Revision, child: Revision | None, decision: str = "adopted", **more: Any
) -> MetaStepRecord:
    return MetaStepRecord(
        step=step,
        parent_id=parent.id,
        child=child,
        decision=decision,
        **{"adopt_step": step, "reason": "merged from 3 refinements", **more},
    )


def write_run(place: Path, *rubrics: Rubric) -> list[Revision]:
    """A run that adopted these rubrics one after the other, at steps 0, 10, 20; returns its revisions."""
    place.mkdir(parents=True)
    store = Store(place / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    revisions: list[Revision] = []
    for r in rubrics:
        step, parents = 10 * len(revisions), tuple(p.id for p in revisions[-1:])
        child = Revision(rubric=r, parents=parents, reason="merged", proposer="meta model", step=step)
        if parents:
            store.append_meta_step(attempt, meta_step(step, revisions[-1], child))
        store.adopt(attempt, step, child)
        revisions.append(child)
    store.close()
    return revisions


# --- rubric show


@pytest.mark.parametrize("name", ["one.yaml", "one.json", "one.txt", "one.md"])
@pytest.mark.parametrize("form", ["text", "yaml"])
def test_a_rubric_is_shown_from_any_form_in_any_form(name: str, form: str) -> None:
    texts = {"yaml": ONE.to_yaml(), "json": ONE.model_dump_json(), "txt": render_rubric(ONE), "md": render_rubric(ONE)}
    Path(name).write_text(texts[name.split(".")[1]])
    shown = output("rubric", "show", name, "--format", form)
    read = parse_rubric(shown).rubric if form == "text" else Rubric.from_yaml(shown)
    assert read == ONE
    assert shown.splitlines()[-1] == f"# 2 criteria, -3 to 5 points, digest {ONE.digest[:10]}"


def test_a_run_shows_its_newest_rubric_or_the_one_that_is_named() -> None:
    first, second = write_run(Path("runs/a"), ONE, TWO)
    for source, wanted in (
        ("runs/a", TWO),
        ("runs/a/", TWO),
        ("runs/a@", TWO),
        (f"runs/a@{first.id[:8]}", ONE),
        (f"runs/a@{second.id}", TWO),
    ):
        assert parse_rubric(output("rubric", "show", source)).rubric == wanted


def test_a_run_may_have_an_at_in_its_path() -> None:
    first, _ = write_run(Path("me@home/a"), ONE, TWO)
    assert parse_rubric(output("rubric", "show", "me@home/a")).rubric == TWO
    assert parse_rubric(output("rubric", "show", f"me@home/a@{first.short_id}")).rubric == ONE


def test_a_revision_is_named_without_doubt_or_not_at_all() -> None:
    write_run(Path("run"), ONE, TWO)
    assert error("rubric", "show", "run@zzz") == (f"run/{STORE}: 0 revisions start with 'zzz'; give an id that one has")


def test_a_run_that_never_began_has_no_rubric() -> None:
    write_run(Path("run"))
    assert error("rubric", "show", "run") == (
        "the run in run has no revision yet: it stopped before its first step. Resume it."
    )


def test_lines_of_a_text_that_were_not_used_are_told() -> None:
    Path("one.txt").write_text("Here is a rubric:\n" + render_rubric(ONE))
    result = call("rubric", "show", "one.txt")
    assert result.exit_code == 0
    assert result.stderr == "one.txt, line 1: text outside of any criterion: 'Here is a rubric:'\n"
    assert parse_rubric(result.stdout).rubric == ONE


BAD_SOURCES = {
    "gone.yaml": "can't read the rubric gone.yaml: No such file or directory. Give the path of a .yaml or .json file.",
    "gone.txt": "there is no file gone.txt",
    "gone": "gone is neither a rubric file nor a run folder: there is no gone/store.db",
    "essay/exprt": "essay/exprt is neither a rubric file nor a run folder: there is no essay/exprt/store.db. Give the "
    "folder that a run was begun with (--out). Shipped rubrics are dialogue/autoprompt, dialogue/expert, ",
    "gone@abc": "gone is neither a rubric file nor a run folder: there is no gone/store.db",
    "empty": "empty is neither a rubric file nor a run folder: there is no empty/store.db",
    "words.txt": "words.txt holds no criterion that can be read",
    "latin.txt": "latin.txt is not UTF-8 text: invalid continuation byte at byte 3",
    "latin.yaml": "latin.yaml is not UTF-8 text: invalid continuation byte at byte 3",
    "bad.yaml": "bad.yaml is neither YAML nor JSON: ",
    "level.yaml": "level.yaml is no valid rubric:\n  criteria.0.levels.1.points: Input should be less than or equal",
}


@pytest.mark.parametrize("source", BAD_SOURCES)
@pytest.mark.parametrize("command", ["show", "lint", "diff", "score"])
def test_a_source_that_is_no_rubric_is_said_to_be_none(source: str, command: str) -> None:
    Path("empty").mkdir()
    Path("words.txt").write_text("be kind\n")
    Path("latin.txt").write_bytes(b"caf\xe9 \xe9")
    Path("latin.yaml").write_bytes(b"caf\xe9 \xe9")
    Path("bad.yaml").write_text("criteria: [")
    Path("level.yaml").write_text(ONE.to_yaml().replace("points: 2", "points: 2000"))
    calls = {
        "show": ("rubric", "show", source),
        "lint": ("rubric", "lint", source),
        "diff": ("rubric", "diff", "one.yaml", source),
        "score": ("score", "--rubric", source, "--rollouts", "r.jsonl", "--judge", "http://x/v1", "--out", "o.jsonl"),
    }
    if source == "words.txt":  # its lines are told first
        assert BAD_SOURCES[source] in call(*calls[command]).stderr
    else:
        assert error(*calls[command]).startswith(BAD_SOURCES[source])


def test_a_damaged_store_is_said_to_be() -> None:
    Path("run").mkdir()
    Path("run", STORE).write_bytes(b"no database" * 100)
    assert "run/store.db: file is not a database. The file is damaged or is no store" in error("rubric", "show", "run")


# --- rubric diff


def test_a_difference_is_told_by_criterion() -> None:
    assert output("rubric", "diff", "one.yaml", "two.yaml").splitlines() == [
        "depth: changed",
        "    Depth (weight 1, positive)",
        "    +0  worth 0",
        "    +2  worth 2",
        "  - +5  worth 5",
        "  + +6  worth 6",
        "style: added",
        "  + Style (weight 1, positive)",
        "  + +0  worth 0",
        "  + +1  worth 1",
        "talk: removed",
        "  - Talk (weight 1, negative)",
        "  - -3  worth -3",
        "  - +0  worth 0",
    ]


def test_two_revisions_of_a_run_are_compared() -> None:
    first, second = write_run(Path("run"), ONE, TWO)
    files = output("rubric", "diff", "one.yaml", "two.yaml")
    assert output("rubric", "diff", f"run@{first.short_id}", f"run@{second.short_id}") == files


def test_no_difference_and_another_order_are_told_apart() -> None:
    assert output("rubric", "diff", "one.yaml", "one.yaml") == "no difference\n"
    Path("turned.yaml").write_text(Rubric(criteria=ONE.criteria[::-1]).to_yaml())
    assert output("rubric", "diff", "one.yaml", "turned.yaml") == "the same criteria in another order\n"


# --- rubric lint


def test_lint_gives_advice_and_no_error() -> None:
    Path("iter0.yaml").write_text(preset_rubric("iter0").to_yaml())
    lines = output("rubric", "lint", "iter0.yaml").splitlines()
    assert all(line.startswith("advice: overall: ") for line in lines[:-1])
    assert lines[-1] == f"valid, {len(lines) - 1} pieces of advice"


def test_lint_is_content_with_a_good_rubric() -> None:
    levels = [
        {"points": 0, "description": "gives no reason at all", "example": "a title"},
        {"points": 2, "description": "gives two distinct reasons", "example": "cheap and clean"},
    ]
    Path("good.yaml").write_text(yaml.safe_dump({"criteria": [{"name": "Reasons", "levels": levels}]}))
    assert output("rubric", "lint", "good.yaml") == "valid, nothing to advise\n"


# --- rubric log


def test_a_log_tells_lineage_and_meta_steps() -> None:
    first, second, third = write_run(Path("run"), ONE, TWO, ONE)
    assert output("rubric", "log", "run").splitlines() == [
        f"step     0  {first.short_id}  2 criteria, -3 to 5 points  meta model: merged",
        "step    10  meta step, adopted",
        f"step    10  {second.short_id}  2 criteria, 0 to 7 points  meta model: merged",
        "step    20  meta step, adopted",
        f"step    20  {third.short_id}  2 criteria, -3 to 5 points  meta model: merged",
        "3 revisions, the chain holds",
    ]


def test_a_log_tells_why_meta_steps_began_and_what_became_of_each() -> None:
    [first] = write_run(Path("run"), ONE)
    store = Store(Path("run", STORE))
    attempt = store.begin_attempt(resumed_step=1, now=datetime(2026, 1, 1, tzinfo=UTC))

    def child(parent: Revision, of: Rubric, reason: str, step: int) -> Revision:
        return Revision(rubric=of, parents=(parent.id,), reason=reason, proposer="meta model", step=step)

    bad, good = child(first, TWO, "merged from 2 refinements", 5), child(first, TWO, "proposal 0 repaired", 5)
    proposals = (
        ProposalRecord(bad, False, "fresh: 40.0% of 20 pairs\nin the right order"),
        ProposalRecord(good, True, "fresh: 90.0%", 0),
    )
    back = child(good, ONE, "back to the first: it orders more", 10)
    waits, late = child(back, TWO, "merged from 1 refinements", 30), child(back, TWO, "late", 50)
    saturated = {"why": "saturation: 60% of the groups have no variance"}
    for done in (
        meta_step(5, first, good, adopt_step=7, proposals=proposals, **saturated),
        meta_step(10, good, back, "rolled_back", adopt_step=12, reason=back.reason, why="5 steps without a meta step"),
        meta_step(20, back, bad, "rejected", proposals=proposals[:1]),
        meta_step(30, back, waits, "waiting", reason=waits.reason),
        meta_step(40, back, None, "failed", reason="none of 3 samples gave a readable refinement"),
        meta_step(50, back, late),
    ):
        store.append_meta_step(attempt, done)
    store.adopt(attempt, 7, good)
    store.adopt(attempt, 12, back)
    store.begin_meta_step(attempt, BegunRecord(60, 62, "every 10 steps"))
    store.close()
    refused = f"  refused {bad.short_id}, merged from 2 refinements: fresh: 40.0% of 20 pairs in the right order"
    assert output("rubric", "log", "run").splitlines() == [
        f"step     0  {first.short_id}  2 criteria, -3 to 5 points  meta model: merged",
        "step     5  meta step (saturation: 60% of the groups have no variance), adopted",
        f"step     5  {refused}",
        f"step     7  {good.short_id}  2 criteria, 0 to 7 points  meta model: proposal 0 repaired",
        "step    10  meta step (5 steps without a meta step), rolled back",
        f"step    12  {back.short_id}  2 criteria, -3 to 5 points  meta model: back to the first: it orders more",
        "step    20  meta step, rejected",
        f"step    20  {refused}",
        "step    30  meta step, accepted, for people to approve: merged from 1 refinements",
        "step    40  meta step, failed: none of 3 samples gave a readable refinement",
        f"step    50  meta step, adopted, {late.short_id} is not in force",
        "step    60  meta step (every 10 steps), under way",
        "6 revisions, the chain holds",
    ]


def test_a_log_names_the_cluster_of_each_lineage() -> None:
    [first] = write_run(Path("run"), ONE)
    store = Store(Path("run", STORE))
    attempt = store.begin_attempt(resumed_step=1, now=datetime(2026, 1, 1, tzinfo=UTC))
    child = Revision(rubric=TWO, parents=(first.id,), reason="merged", proposer="meta model", step=5)
    rollouts = [Rollout(prompt="p", completion="c", position=i, cluster=c) for i, c in enumerate(("law", "art"))]
    store.append_rollouts(attempt, [RolloutRecord(r, first.id, None, None, None, ()) for r in rollouts])
    store.append_meta_step(attempt, meta_step(5, first, child, cluster="law"))
    store.adopt(attempt, 5, child, "law")
    store.append_meta_step(attempt, meta_step(5, first, None, "unchanged", cluster="art", reason="it is equal"))
    store.close()
    assert output("rubric", "log", "run").splitlines() == [
        f"step     0  {first.short_id}  2 criteria, -3 to 5 points  meta model: merged",
        "step     5  art: meta step, unchanged: it is equal",
        "step     5  law: meta step, adopted",
        f"step     5  law: {child.short_id}  2 criteria, 0 to 7 points  meta model: merged",
        "2 revisions, the chain holds",
    ]


def test_a_log_of_a_changed_lineage_is_an_error() -> None:
    write_run(Path("run"), ONE, TWO)
    db = sqlite3.connect(Path("run", STORE))
    with db:
        db.execute("UPDATE revision SET reason = 'another'")
    db.close()
    assert "was changed after it was written: its content has another digest" in error("rubric", "log", "run")


def test_a_log_of_a_lineage_with_a_gap_is_an_error() -> None:
    first, _, third = write_run(Path("run"), ONE, TWO, ONE)
    db = sqlite3.connect(Path("run", STORE))
    with db:
        db.execute("DELETE FROM adoption WHERE step = 10")
    db.close()
    message = error("rubric", "log", "run")
    assert f"revision {third.short_id}, adopted at step 20, is no child of {first.short_id}" in message


def test_a_log_needs_a_run() -> None:
    assert "there is no gone/store.db" in error("rubric", "log", "gone")
    assert "Directory 'one.yaml' is a file" in error("rubric", "log", "one.yaml", code=2)


# --- score

ROLLOUTS = [
    {"prompt": "Why?", "completion": "Because.", "kept": [1]},
    {"prompt": "Why?", "response": "It is so.", "reference": 42},
    {"prompt": "é漢", "completion": ""},
]


def write_rollouts(*rows: object) -> str:
    Path("rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "rollouts.jsonl"


def scoring(url: str, *options: object, source: str = "one.yaml") -> tuple[object, ...]:
    return (
        *("score", "--rubric", source, "--rollouts", "rollouts.jsonl", "--judge", url, "--out", "out/scored.jsonl"),
        *options,
    )


def scored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("out/scored.jsonl").read_text().splitlines()]


def test_rollouts_are_scored_and_keep_their_columns() -> None:
    write_rollouts(*ROLLOUTS)
    with ChatServer(verdicts(max)) as server:
        told = output(*scoring(server.url, "--model", "mine", "--task", "Answer in a word."))
    assert told == "3 rollouts, mean reward 1.000, 0.0% unscored; 6 requests, 57 tokens\nWritten to out/scored.jsonl\n"
    found = scored()
    assert [{name: row[name] for name in given} for row, given in zip(found, ROLLOUTS, strict=True)] == ROLLOUTS
    assert [(row["reward"], row["raw"]) for row in found] == [(1.0, 5.0)] * 3
    assert found[0]["verdicts"] == [
        {"criterion_id": "depth", "points": 5},
        {"criterion_id": "talk", "points": 0},
    ]
    asked = [ask.prompt for ask in server.asks if "<rubric>" in ask.prompt]
    assert len(asked) == 3
    assert all("Answer in a word." in prompt for prompt in asked)
    assert sum("42" in prompt for prompt in asked) == 1
    assert {ask.body["model"] for ask in server.asks} == {"mine"}


def test_rollouts_are_scored_under_the_rubric_of_a_run() -> None:
    write_run(Path("run"), ONE, TWO)
    write_rollouts(ROLLOUTS[0])
    with ChatServer(verdicts(min)) as server:
        output(*scoring(server.url, source="run"))
    assert [(row["reward"], row["raw"], [v["criterion_id"] for v in row["verdicts"]]) for row in scored()] == [
        (0.0, 0.0, ["depth", "style"])
    ]


def test_half_a_surrogate_pair_is_no_reason_to_lose_all() -> None:
    write_rollouts({"prompt": "Why?", "completion": "cut emoji \ud83d"})
    with ChatServer(verdicts(max)) as server:
        output(*scoring(server.url))
    assert scored()[0]["reward"] == 1.0


def test_what_could_not_be_judged_gets_null() -> None:
    write_rollouts(*ROLLOUTS[:2])
    good = verdicts(max)
    with ChatServer(lambda ask: says("no JSON")(ask) if "Because." in ask.prompt else good(ask)) as server:
        told = output(*scoring(server.url, "--max-unscored", 0.5))
    assert told == "2 rollouts, mean reward 1.000, 50.0% unscored; 6 requests, 53 tokens\nWritten to out/scored.jsonl\n"
    first, second = scored()
    assert (first["reward"], first["raw"], second["reward"]) == (None, None, 1.0)
    assert {v["reason"] for v in first["verdicts"]} == {"unparsable"}
    assert {v["raw"] for v in first["verdicts"]} == {"no JSON"}


def test_when_nothing_could_be_judged_the_reason_is_told_and_the_file_is_there() -> None:
    write_rollouts(*ROLLOUTS)
    with ChatServer(says("no JSON")) as server:
        result = call(*scoring(server.url))
    assert (result.exit_code, len(scored())) == (1, 3)
    assert "no rollout could be judged. unparsable: expected one JSON object" in result.stderr


def test_an_unreachable_judge_is_said_to_be_after_one_deadline() -> None:
    write_rollouts(*ROLLOUTS * 100)
    with refused_url() as url:
        message = error(*scoring(url, "--deadline", 0.2))
    assert message.startswith(f"{url}/chat/completions (model 'default') can't be reached: ")
    assert message.endswith("Is the server running?")
    assert not Path("out").exists()


def test_a_refused_key_ends_it_with_advice() -> None:
    write_rollouts(*ROLLOUTS)
    with ChatServer(in_turn(says("yes"), status(401, "bad key"))) as server:
        message = error(*scoring(server.url))
    assert "answered 401" in message
    assert message.endswith("(check url, model and api_key_env in the settings)")
    assert not Path("out/scored.jsonl").exists()


def test_the_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    write_rollouts(*ROLLOUTS)
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    assert error(*scoring("http://x/v1", "--api-key-env", "JUDGE_KEY")) == (
        "api_key_env names the environment variable 'JUDGE_KEY', which is not set. "
        "Set it, or leave api_key_env out for a server without keys."
    )
    monkeypatch.setenv("JUDGE_KEY", "secret")
    with ChatServer(verdicts(max)) as server:
        told = call(*scoring(server.url, "--api-key-env", "JUDGE_KEY"))
    assert told.exit_code == 0
    assert {ask.headers["Authorization"] for ask in server.asks} == {"Bearer secret"}
    assert "secret" not in told.output + Path("out/scored.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--task", ""), "  task_description: String should have at least 1 character"),
        (("--model", ""), "  judge.model: String should have at least 1 character"),
    ],
)
def test_an_empty_option_is_named(options: tuple[str, str], line: str) -> None:
    write_rollouts(*ROLLOUTS)
    assert error(*scoring("http://x/v1", *options)).startswith(f"an option is empty or wrong:\n{line}")


@pytest.mark.parametrize("url", ["htp://x/v1", "localhost:8000/v1", "http://[::1/v1"])
def test_a_judge_that_is_no_url_is_named(url: str) -> None:
    write_rollouts(*ROLLOUTS)
    message = error(*scoring(url, "--deadline", 0.2))
    assert url in message
    assert "http://localhost:8000/v1" in message


@pytest.mark.parametrize("row", [{"completion": "a"}, {"prompt": "a"}, {"prompt": 1, "completion": "a"}, {}])
def test_a_row_without_its_texts_is_named(row: dict[str, Any]) -> None:
    write_rollouts(ROLLOUTS[0], row)
    wanted = "rollouts.jsonl, row 2: expected texts 'prompt' and 'completion', or lists of messages; it has "
    assert error(*scoring("http://x/v1")) == wanted + (", ".join(row) or "nothing")


def test_a_row_with_messages_that_are_none_is_named() -> None:
    write_rollouts(ROLLOUTS[0], {"prompt": "a", "completion": [{"role": "bot", "content": "b"}]})
    wanted = (
        "rollouts.jsonl, row 2: message 1: the role must be one of system, developer, user, assistant, tool; got 'bot'"
    )
    assert error(*scoring("http://x/v1")) == wanted


def test_rollouts_may_be_lists_of_messages() -> None:
    messages = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    write_rollouts({"prompt": messages[1:], "completion": messages})
    _, [rollout] = read_rollouts(Path("rollouts.jsonl"))
    assert (rollout.prompt, rollout.completion) == ("b", as_text(messages))


def test_rollouts_that_cannot_be_read_are_named() -> None:
    assert error(*scoring("http://x/v1")).startswith(
        "can't read rollouts.jsonl: No such file or directory. Give a file"
    )
    Path("rollouts.jsonl").touch()
    assert error(*scoring("http://x/v1")) == "rollouts.jsonl holds no rollouts"
    Path("rollouts.jsonl").write_text('{"prompt": "cut')
    assert error(*scoring("http://x/v1")).startswith("rollouts.jsonl, line 1: not JSON")


def test_a_place_that_takes_no_file_is_named() -> None:
    write_rollouts(*ROLLOUTS)
    Path("out").touch()
    with ChatServer(verdicts(max)) as server:
        assert error(*scoring(server.url)).startswith("can't write out/scored.jsonl: ")


# --- train


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("s.yaml",),
        ("--out", "run"),
        ("s.yaml", "--resume", "run"),
        ("s.yaml", "--out", "o", "--resume", "run"),
        ("--preset", "paper/essay"),
        ("--show",),
        ("s.yaml", "--show"),
    ],
)
def test_training_starts_or_goes_on(arguments: tuple[str, ...]) -> None:
    assert error("train", *arguments, code=2) == (
        "give SETTINGS, --preset NAME or both, and --out FOLDER; or --resume FOLDER alone; or --preset NAME --show"
    )


def test_settings_that_are_not_there_are_named() -> None:
    assert error("train", "gone.yaml", "--out", "run") == (
        "can't read the settings gone.yaml: No such file or directory. Give the path of a YAML file."
    )


def test_a_folder_without_a_run_cannot_go_on() -> None:
    Path("run").mkdir()
    for place in ("run", "gone"):
        assert error("train", "--resume", place) == (
            f"{place} holds no run to resume: it has no settings.yaml. Start one with SETTINGS and --out."
        )


def write_settings(**changes: Any) -> str:
    fields: dict[str, Any] = {
        "rubric": "one.yaml",
        "judge": {"url": "http://127.0.0.1:9/v1", "model": "judge", "deadline_s": 0.2},
        "data": {"train": "prompts.jsonl"},
        "policy": {"model": "policy"},
    }
    Path("settings.yaml").write_text(yaml.safe_dump({**fields, **changes}))
    return "settings.yaml"


@pytest.mark.parametrize("task", ["generic", "world"])
def test_wrong_settings_are_named_by_field(task: str) -> None:
    message = error("train", write_settings(task=task, seed=-1, extra=1), "--out", "run")
    assert message.startswith("settings.yaml is wrong in these fields:\n")
    assert "  seed: Input should be greater than or equal to 0; got '-1'" in message
    assert "  extra: there is no such field. " in message
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9 \xe9", "settings.yaml is not UTF-8 text"),
        (b"task: [", "settings.yaml is not YAML"),
        (b"task: 2024-13-45", "settings.yaml is not YAML"),
        (b"words", "settings.yaml must hold fields"),
    ],
)
def test_what_is_no_settings_file_is_said_to_be_none(content: bytes, message: str) -> None:
    Path("settings.yaml").write_bytes(content)
    assert error("train", "settings.yaml", "--out", "run").startswith(message)


def test_prompts_are_read_before_anything_is_written() -> None:
    assert error("train", write_settings(), "--out", "run").startswith(
        "can't read prompts.jsonl: No such file or directory"
    )
    Path("prompts.jsonl").write_text('{"topic": "a"}\n')
    message = error("train", write_settings(), "--out", "run")
    assert message.startswith("prompts.jsonl, row 1: no column 'prompt'; it has 'topic'.")
    Path("prompts.jsonl").write_text('{"prompt": "a"}\n')
    message = error("train", write_settings(data={"train": "prompts.jsonl", "eval": "gone.jsonl"}), "--out", "run")
    assert message.startswith("can't read gone.jsonl: No such file or directory. Give a file of JSON lines")
    assert not Path("run").exists()


def test_an_out_that_is_a_file_is_refused() -> None:
    assert "Directory 'one.yaml' is a file" in error("train", write_settings(), "--out", "one.yaml", code=2)


# --- world


def finish(place: Path, arm: str, seed: int) -> None:
    """A folder that looks like a finished run of 200 steps."""
    write_whole(place / f"{arm}-{seed}" / SETTINGS, arm_settings(arm, seed=seed, steps=200).to_yaml())
    write_whole(place / f"{arm}-{seed}" / RESULT, "{}")


def test_an_unknown_arm_is_named_with_those_there_are() -> None:
    wanted = f"there is no arm magic; choose from {', '.join(ARMS)}"
    assert error("world", "compare", "--arms", "mpo, magic", "--out", "o") == wanted
    assert error("world", "run", "magic", "--out", "o") == wanted
    assert not Path("o").exists()


def test_a_comparison_has_seeds_that_tuned_nothing() -> None:
    (seeds,) = (option.default for option in compare.params if option.name == "seeds")
    assert len(seeds.split(",")) >= 5
    assert not TUNING_SEEDS & set(map(int, seeds.split(",")))


@pytest.mark.parametrize("seeds", ["", "one", "1,,2", "1,x", "1.5", "-1", "1,-1", "4294967296"])
def test_seeds_are_whole_numbers(seeds: str) -> None:
    message = error("world", "compare", f"--seeds={seeds}", "--out", "o", code=2)
    assert message.replace("\n", " ") == (
        f"Invalid value for --seeds: expected whole numbers from 0 on, separated by commas; got {seeds!r}"
    )


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (("--steps", "0"), "x>=1"),
        (("--steps", "many"), "not a valid integer"),
        (("--sway", "1.1"), "0<=x<=1"),
        (("--sway", "-0.1"), "0<=x<=1"),
        (("--processes", "0"), "x>=1"),
    ],
)
def test_numbers_outside_their_range_are_usage_errors(options: tuple[str, str], allowed: str) -> None:
    message = error("world", "compare", *options, "--out", "o", code=2)
    assert options[0] in message
    assert allowed in message


@pytest.mark.parametrize("names", [("demo",), ("run", "mpo"), ("make-policy",)])
def test_a_seed_below_zero_is_a_usage_error(names: tuple[str, ...]) -> None:
    assert "--seed" in error("world", *names, "--seed", "-1", "--out", "o", code=2)


def test_runs_with_other_settings_are_not_mixed() -> None:
    finish(Path("o"), "mpo", 1)
    message = error("world", "compare", "--arms", "mpo", "--seeds", "1", "--steps", "7", "--out", "o")
    assert message.startswith("o/mpo-1 holds a run with other settings")
    assert message.endswith("Choose another --out, or delete that folder.")
    other = error("world", "run", "mpo", "--seed", "1", "--steps", "7", "--out", "o/mpo-1")
    assert other.startswith("the settings differ from o/mpo-1/settings.yaml")


def test_a_place_where_no_folder_can_be_made_is_named() -> None:
    message = error("world", "compare", "--arms", "mpo", "--seeds", "1", "--out", "one.yaml/o")
    assert re.fullmatch(r"can't make the folder one.yaml/o/mpo-1: Not a directory. Choose another with --out.", message)


def test_a_report_needs_runs() -> None:
    Path("empty").mkdir()
    assert "empty" in error("world", "report", "empty")


def test_the_policy_is_written_to_a_file() -> None:
    Path("here").mkdir()
    assert "File 'here' is a directory" in error("world", "make-policy", "--out", "here", code=2)
