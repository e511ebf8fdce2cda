"""metapo score with panels, caches and budgets; metapo judge check; metapo audit."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.audit.attacks import attacks
from metapo.audit.detectors import Detector
from metapo.cli import main
from metapo.rubric import Rubric
from tests.dialects import DIALECTS
from tests.helpers import criterion, rubric
from tests.servers import Answer, Ask, ChatServer, says, verdicts

RUBRIC = rubric(criterion("depth", (0, 2, 5)), criterion("style", (0, 1)))
ROLLOUTS = [{"prompt": "Why?", "completion": f"Because of {i}."} for i in range(4)]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rubric.yaml").write_text(RUBRIC.to_yaml())
    Path("rollouts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROLLOUTS))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def score(*arguments: object) -> Result:
    return call("score", "--rollouts", "rollouts.jsonl", "--out", "scored.jsonl", *arguments)


def scored() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("scored.jsonl").read_text().splitlines()]


def test_several_judges_are_a_panel() -> None:
    with ChatServer(verdicts(max)) as kind, ChatServer(verdicts(min)) as strict, ChatServer(verdicts(min)) as third:
        judges = [part for server in (kind, strict, third) for part in ("--judge", server.url)]
        result = score("--rubric", "rubric.yaml", *judges, "--model", "a", "--model", "b", "--model", "b")
    assert result.exit_code == 0, result.output
    for row in scored():
        assert row["reward"] == 0
        assert row["verdicts"][0]["uncertainty"] == pytest.approx(2.357, abs=1e-3)
        assert {name: v[0]["points"] for name, v in row["opinions"].items()} == {"a": 5, "b #2": 0, "b #3": 0}


def test_the_same_command_goes_on_where_it_was_interrupted() -> None:
    good = verdicts(max)
    with ChatServer(lambda ask: says("no JSON")(ask) if "of 2" in ask.prompt else good(ask)) as server:
        arguments = ("--rubric", "rubric.yaml", "--judge", server.url)
        first = score(*arguments)
        assert first.exit_code == 1, "one in four is more than max_unscored allows"
        assert [row["reward"] for row in scored()] == [1, 1, None, 1]
        assert "Unscored verdicts: 2 unparsable. The same command asks again for these alone." in first.stderr
        server.behaviour, n_before = good, server.n_requests
        second = score(*arguments)
        asked = [ask.prompt for ask in server.asks[n_before:] if "<rubric>" in ask.prompt]
    assert [row["reward"] for row in scored()] == [1, 1, 1, 1]
    assert len(asked) == 1
    assert "of 2" in asked[0]
    assert f"6 verdicts known already, {server.n_requests - n_before} requests" in second.stdout


def test_without_a_cache_everything_is_judged_anew() -> None:
    with ChatServer(verdicts(max)) as server:
        for _ in range(2):
            assert score("--rubric", "rubric.yaml", "--judge", server.url, "--no-cache").exit_code == 0
        assert sum("<rubric>" in ask.prompt for ask in server.asks) == 2 * len(ROLLOUTS)
    assert not list(Path().glob("*.db"))


def test_modes_and_rationales() -> None:
    with DIALECTS["vllm"].serve("m") as server:
        judge = ("--rubric", "rubric.yaml", "--judge", server.url, "--model", "m", "--no-cache")
        assert score(*judge, "--mode", "expected").exit_code == 0
        assert [v["expected"] for v in scored()[0]["verdicts"]] == pytest.approx([4.6, 0.9])
        assert score(*judge, "--rationales").exit_code == 0
        assert [v["rationale"] for v in scored()[0]["verdicts"]] == ["scripted", "scripted"]


def settings_file(url: str, **fields: Any) -> str:
    data = {"rubric": "rubric.yaml", "judge": {"url": url, "model": "served-model"}, **fields}
    Path("settings.yaml").write_text(json.dumps(data))
    return "settings.yaml"


def test_all_criteria_count_whatever_dropout_is_in_training() -> None:
    rewards = []
    with ChatServer(verdicts(lambda on_offer: max(on_offer) if len(on_offer) == 2 else min(on_offer))) as server:
        for dropout in (0.0, 0.5):
            assert score("--settings", settings_file(server.url, dropout=dropout), "--no-cache").exit_code == 0
            rewards.append([row["reward"] for row in scored()])
    assert rewards[0] == rewards[1]
    assert 0 < rewards[0][0] < 1, "one criterion alone would give 0 or 1"


def test_a_settings_file_says_all_about_the_judge() -> None:
    with ChatServer(verdicts(max)) as server:
        price = {"url": server.url, "model": "served-model", "price": {"prompt": 100.0, "completion": 0.0}}
        file = settings_file(server.url, judge=price, monitor={"judge": price}, data={"train": "ignored"})
        result = score("--settings", file)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].endswith(" USD")
    assert [row["monitor"] for row in scored()] == [1, 1, 1, 1]


def test_a_settings_file_brings_what_its_task_says_as_in_training() -> None:
    with ChatServer(verdicts(max)) as server:
        file = settings_file(server.url, task="ethics", data={"train": "ignored"})
        assert score("--settings", file, "--no-cache").exit_code == 0
        shipped = "\n".join(ask.prompt for ask in server.asks)
        Path("mine.py").write_text(
            "from metapo.tasks.task import Task, build_prompt\n"
            "TASK = Task('mine', lambda raw, columns: build_prompt(raw['prompt'], raw, columns),\n"
            "            {'task_description': 'Rhyme.', 'judge_notes': 'Count rhymes.', 'engine': {'steps': 3}})\n"
        )
        file = settings_file(server.url, task="mine.py", judge_notes="Count syllables.")
        assert score("--settings", file, "--no-cache").exit_code == 0
    assert "Reason in at most 300 words" in shipped
    assert "Judge how well the reasoning weighs this very case" in shipped
    own = server.asks[-1].prompt
    assert "Rhyme.\n\nCount syllables." in own, "the file comes over its task"


@pytest.mark.parametrize(
    ("fields", "options", "code"),
    [
        ({}, (), 1),
        ({"max_unscored": 0.25}, (), 0),
        ({"max_unscored": 0.25}, ("--max-unscored", 0.2), 1),
        ({}, ("--max-unscored", 0.25), 0),
    ],
    ids=["default", "settings allow it", "option before settings", "option allows it"],
)
def test_too_many_without_a_reward_are_an_error(fields: dict[str, Any], options: tuple[Any, ...], code: int) -> None:
    good = verdicts(max)
    with ChatServer(lambda ask: says("no JSON")(ask) if "of 2" in ask.prompt else good(ask)) as server:
        result = score("--settings", settings_file(server.url, **fields), *options)
    assert result.exit_code == code, result.output
    assert [row["reward"] for row in scored()] == [1, 1, None, 1]
    allowed = options[1] if options else fields.get("max_unscored", 0.1)
    message = f"1 of 4 rollouts have no reward, more than max_unscored = {allowed} allows. All are written."
    assert (message in result.stderr) == (code == 1)


def test_without_a_cache_no_going_on_is_promised() -> None:
    with ChatServer(says("no JSON")) as server:
        result = score("--rubric", "rubric.yaml", "--judge", server.url, "--no-cache")
    assert "Unscored verdicts: 8 unparsable.\n" in result.stderr


def test_a_budget_ends_it_and_the_verdicts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metapo.cli.scoring.CHUNK", 1)
    with ChatServer(verdicts(max)) as server:
        result = score("--settings", settings_file(server.url, budget={"tokens": 40}))
        assert result.exit_code == 1
        assert "2 of 4 rollouts took 46 tokens" in result.stderr, "with those that ask who answers, and what it can"
        assert [row["reward"] for row in scored()] == [1, 1, None, None]
        n_before = sum("<rubric>" in ask.prompt for ask in server.asks)
        assert score("--settings", settings_file(server.url)).exit_code == 0
        assert sum("<rubric>" in ask.prompt for ask in server.asks) - n_before == len(ROLLOUTS) - 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rubric", "rubric.yaml"), "give a judge: --judge with a URL, --local with a model, or --settings"),
        (("--judge", "http://x/v1"), "give a rubric: --rubric with a file or a run"),
        (("--rubric", "rubric.yaml", "--judge", "http://x/v1", "--local", "m"), "give either --judge with a URL or"),
        (
            ("--rubric", "rubric.yaml", "--judge", "http://x/v1", "--model", "a", "--model", "b"),
            "1 times --judge, but 2 times --model: give one, or one for each",
        ),
        (
            ("--settings", "settings.yaml", "--mode", "split"),
            "--settings says everything about the judge: leave out --mode",
        ),
        (("--rubric", "rubric.yaml", "--local", "./models/gone"), "./models/gone"),
        (("--rubric", "rubric.yaml", "--judge", "http://x/v1", "--cache", "c", "--no-cache"), "give either --cache or"),
    ],
)
def test_options_that_do_not_fit(arguments: tuple[str, ...], message: str) -> None:
    result = score(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr


# --- judge check


def test_check_shows_its_findings() -> None:
    with DIALECTS["vllm"].serve("m") as server:
        result = call("judge", "check", server.url, "--model", "m")
    lines = result.stdout.splitlines()
    assert result.exit_code == 1, "this judge gives a wrong answer the top level too"
    assert lines[0].startswith("ok  reachable ")
    assert "ok  json schema        replies are held to a JSON schema" in lines
    assert lines[-1] == "NO  verdict            not fit to judge: judging"


def test_check_of_a_wrong_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRONG", "sk-wrong")
    with DIALECTS["hosted"].serve("m") as server:
        result = call("judge", "check", server.url, "--model", "m", "--api-key-env", "WRONG")
    assert result.exit_code == 1
    assert result.stdout.startswith("NO  reachable ")
    assert "answered 401" in result.stdout


# --- audit


def test_audit_of_a_file() -> None:
    rows = [
        {"prompt": "Write an essay on tea in your own words.", "response": "Tea: A Drink"},
        {"prompt": "What is 2 + 2?", "response": "It is 4."},
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("audit", "rows.jsonl", "--json", "audit.json")
    assert result.exit_code == 0, result.output
    report = json.loads(Path("audit.json").read_text())
    assert (report["n"], report["flagged"], report["detectors"]["too_short"]) == (2, 1, 1)
    assert report["detectors"].keys() == {d.value for d in Detector}
    assert report["rows"] == [{"index": 0, "flags": ["too_short"]}, {"index": 1, "flags": []}]
    assert result.stdout.startswith("2 responses, 1 flagged (50.00%)\n")


def easily_fooled(ask: Ask) -> Answer:
    """Gives the top to whatever speaks of the highest points, else the bottom."""
    return verdicts(max if "highest points" in ask.prompt.rpartition(" completion\n")[2] else min)(ask)


def test_audit_reads_lists_of_messages_and_judges_what_the_policy_says() -> None:
    loop = "Because it is so, it is so. " * 30
    said = [{"role": "assistant", "content": loop}, {"role": "user", "content": "And?"}]
    rows = [{"prompt": [{"role": "user", "content": "Why?"}], "completion": said}, {"prompt": "Why?", "response": loop}]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("audit", "rows.jsonl", "--json", "audit.json")
    assert result.exit_code == 0, result.output
    first, second = json.loads(Path("audit.json").read_text())["rows"]
    assert first["flags"] == second["flags"] != []


def test_audit_of_a_judge() -> None:
    with ChatServer(easily_fooled) as server:
        result = call(
            "audit", "rollouts.jsonl", "--judge", server.url, "--rubric", "rubric.yaml", "--json", "audit.json"
        )
    assert result.exit_code == 0, result.output
    report = json.loads(Path("audit.json").read_text())["attacks"]
    by_name = {r["attack"]: r for r in report["results"]}
    assert report["n"] == len(by_name) == len(attacks())
    raised = {name for name, r in by_name.items() if r["after"] == 1}
    assert raised == {a.name for a in attacks() if "highest points" in _shown(a)}
    assert 0 < report["raised"] == len(raised) < report["n"]
    assert report["criteria"]["depth"] == pytest.approx(report["raised"] / report["n"])
    assert sum(f["raised"] for f in report["families"].values()) == report["raised"]
    assert f"{report['n']} attacks, {report['raised']} raised the score" in result.stdout
    assert f"It took {server.n_requests} requests, " in result.stdout


def test_a_budget_ends_the_attacks_and_what_was_tried_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metapo.cli.scoring.CHUNK", 3)
    with ChatServer(easily_fooled) as server:
        file = settings_file(server.url, budget={"tokens": 15})
        result = call("audit", "rollouts.jsonl", "--settings", file, "--json", "audit.json")
    n_untried = len(attacks()) - 2
    assert result.exit_code == 1
    assert f"2 attacks, 1 raised the score, 0 left it without a verdict, {n_untried} were not tried" in result.stdout
    assert (
        f"3 of {1 + len(attacks())} rollouts took 57 tokens and 0.0000 USD, which reaches budget.tokens = 15. The "
        in (result.stderr)
    )
    report = json.loads(Path("audit.json").read_text())["attacks"]
    assert (report["n"], report["untried"], len(report["results"])) == (2, n_untried, 2)


def _shown(attack: Any) -> str:
    from metapo.audit.attacking import weaken
    from metapo.judge.neutral import neutralize

    row = ROLLOUTS[0]
    return neutralize(attack.apply(row["prompt"], weaken(row["completion"]), Rubric.model_validate(RUBRIC)))


def test_audit_of_a_run_folder_and_of_nothing(tmp_path: Path) -> None:
    Path("empty.jsonl").write_text("")
    assert "empty.jsonl holds no rollouts" in call("audit", "empty.jsonl").stderr
    (tmp_path / "folder").mkdir()
    assert "there is no folder/store.db" in call("audit", "folder").stderr
