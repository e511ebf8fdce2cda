"""metapo eval generate: completions by a model in this process and by a server, their record, and who reads it."""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from metapo.cli import main
from metapo.errors import DataError, RunError, RunInUse
from metapo.evals.generation import Asked, Generated, Sampling, load_asked, open_generations
from metapo.rollout import Message, as_text
from tests.helpers import odd_texts, rubric
from tests.servers import Answer, Ask, Behaviour, ChatServer, says, status, verdicts

PROMPTS: list[dict[str, Any]] = [
    {"prompt": "Why?", "reference": "Because \\boxed{1}.", "label": "RIGHT"},
    {"prompt": "Why not? " * 9, "reference": "\\boxed{2}", "label": "WRONG"},
    {"prompt": "Why?", "reference": "Because \\boxed{1}.", "label": "RIGHT"},
    {"prompt": [{"role": "user", "content": "How?"}], "reference": "\\boxed{3}", "label": "RIGHT"},
    {"prompt": "é🙂", "reference": "\\boxed{4}", "label": "WRONG"},
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *rows: dict[str, Any]) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def generate(*arguments: object, out: str = "g.jsonl", prompts: list[dict[str, Any]] = PROMPTS) -> Result:
    return call("eval", "generate", "--prompts", write("p.jsonl", *prompts), "--out", out, *arguments)


def rows(name: str = "g.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def texts(name: str = "g.jsonl") -> dict[str, str]:
    return {row["id"]: row["completion"] for row in rows(name)}


def echoes(ask: Ask) -> Answer:
    return says(f"On {ask.prompt.strip()}: \\boxed{{1}} <verdict>RIGHT</verdict>")(ask)


def asked(server: ChatServer) -> list[str]:
    """What was asked to be completed."""
    return [ask.prompt for ask in server.asks if not ask.prompt.startswith("Answer with the word yes")]


# --- a model in this process


def test_completions_are_those_of_transformers(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = generate(tiny_model, "--max-tokens", 12)
    assert result.exit_code == 0, result.output
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModelForCausalLM.from_pretrained(tiny_model)
    for row in rows():
        prompt = tokenizer(row["prompt"], return_tensors="pt")
        ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert row["completion"] == tokenizer.decode(ids, skip_special_tokens=True)
        assert row["finish_reason"] == ("stop" if tokenizer.eos_token_id in ids else "length")


@pytest.mark.parametrize("temperature", [0, 1.3])
def test_the_batch_does_not_matter_and_the_seed_does(tiny_model: Path, temperature: float) -> None:
    common = (tiny_model, "--max-tokens", 9, "--temperature", temperature)
    for n in (1, 2, 5):
        assert generate(*common, "--max-batch", n, out=f"{n}.jsonl").exit_code == 0
    assert texts("1.jsonl") == texts("2.jsonl") == texts("5.jsonl")
    assert generate(*common, "--seed", 1, out="other.jsonl").exit_code == 0
    assert (texts("other.jsonl") == texts("1.jsonl")) is (temperature == 0)
    assert (texts("1.jsonl")["1"] == texts("1.jsonl")["3"]) is (temperature == 0), "equal prompts are drawn apart"


def test_what_was_cut_is_marked_and_counted(tiny_model: Path) -> None:
    result = generate(tiny_model, "--max-tokens", 2, "--limit", 3)
    assert {row["finish_reason"] for row in rows()} == {"length"}
    assert result.stdout.startswith("3 completions of 3 prompts, 3 cut, ")


def test_an_interrupted_generation_goes_on_with_the_same_draws(tiny_model: Path) -> None:
    common = (tiny_model, "--max-tokens", 6, "--temperature", 1, "--max-batch", 2)
    assert generate(*common, out="whole.jsonl").exit_code == 0
    assert generate(*common, "--limit", 2).exit_code == 0
    kept = Path("g.jsonl").read_text()
    with Path("g.jsonl").open("a") as f:
        f.write('{"id": "3", "prompt": "torn by a cr')
    result = generate(*common)
    assert result.exit_code == 0, result.output
    assert Path("g.jsonl").read_text().startswith(kept)
    assert len(rows()) == 5
    assert texts() == texts("whole.jsonl")
    assert "also holds 3 completions of other prompts" in generate(*common, "--limit", 2).stdout


def test_a_prompt_that_does_not_fit_is_told(tiny_model: Path) -> None:
    result = generate(tiny_model, "--max-tokens", 3, prompts=[{"prompt": "a" * 3000}, {"prompt": "b"}])
    assert result.exit_code == 1
    assert texts().keys() == {"2"}
    assert "1 of 2 prompts have no completion:\n  1: ChatTooLong: the request has 3000 tokens" in result.stderr


# --- a server


def test_a_server_is_asked_for_each_prompt_once() -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
    with ChatServer(echoes) as server:
        result = generate("--url", server.url, "--model", "m", "--max-tokens", 7, prompts=[*PROMPTS, {"prompt": chat}])
        assert result.exit_code == 0, result.output
        assert sorted(asked(server)) == sorted(["Why?", "Why?", "How?", "Go on.", "é🙂", "Why not? " * 9])
        bodies = [ask.body for ask in server.asks[1:]]
        assert {(b["model"], b["max_tokens"], b["temperature"], "seed" in b) for b in bodies} == {("m", 7, 0, False)}
        assert chat in [b["messages"] for b in bodies]
        n = server.n_requests
        assert generate("--url", server.url, "--model", "m", "--max-tokens", 7).exit_code == 0
        assert server.n_requests == n, "all is on record"
    by_id = {row["id"]: row for row in rows()}
    assert by_id["6"]["prompt"] == as_text(chat)
    assert by_id["2"]["completion"] == f"On {('Why not? ' * 9).strip()}: \\boxed{{1}} <verdict>RIGHT</verdict>"
    assert (by_id["2"]["reference"], by_id["2"]["label"]) == ("\\boxed{2}", "WRONG")
    assert by_id["2"]["model"].startswith(f"m at {server.url} (served as served-model")


def test_with_a_temperature_each_row_has_a_seed_of_its_own() -> None:
    with ChatServer(echoes) as server:
        assert generate("--url", server.url, "--temperature", 0.5, out="a.jsonl").exit_code == 0
        first = {(a.prompt, a.body["seed"]) for a in server.asks[1:]}
        assert generate("--url", server.url, "--temperature", 0.5, out="b.jsonl").exit_code == 0
        assert {(a.prompt, a.body["seed"]) for a in server.asks[7:]} == first
        assert generate("--url", server.url, "--temperature", 0.5, "--seed", 1, out="c.jsonl").exit_code == 0
        assert not {(a.prompt, a.body["seed"]) for a in server.asks[13:]} & first
    assert len({seed for _, seed in first}) == 5


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (status(400, "no such luck"), "ChatRejected: "),
        (says("", finish_reason="content_filter"), "the server withheld it (content_filter)"),
    ],
)
def test_a_failed_request_leaves_no_row_and_is_named(failure: Behaviour, told: str) -> None:
    with ChatServer(lambda ask: failure(ask) if "How?" in ask.prompt else echoes(ask)) as server:
        result = generate("--url", server.url)
        assert result.exit_code == 1
        assert result.stdout == "4 completions of 5 prompts, 0 cut, 0 empty\nWritten to g.jsonl\n"
        assert f"Error: 1 of 5 prompts have no completion:\n  4: {told}" in result.stderr
        assert "The same command asks for these alone." in result.stderr
        assert texts().keys() == {"1", "2", "3", "5"}
        server.behaviour, n = echoes, server.n_requests
        assert generate("--url", server.url).exit_code == 0
        assert [ask.prompt for ask in server.asks[n + 1 :]] == ["How?"]
    assert texts().keys() == {"1", "2", "3", "4", "5"}


def test_a_policy_that_writes_nothing_is_no_failure() -> None:
    with ChatServer(says("")) as server:
        result = generate("--url", server.url)
    assert result.exit_code == 0
    assert result.stdout.startswith("5 completions of 5 prompts, 0 cut, 5 empty\n")


def test_a_key_that_is_refused_ends_it() -> None:
    with ChatServer(lambda ask: status(401)(ask) if ask.number > 3 else echoes(ask)) as server:
        result = generate("--url", server.url, "--max-in-flight", 1)
        assert result.exit_code == 1
        assert "answered 401" in result.stderr
        assert len(rows()) == 2
        assert server.n_requests == 4


def test_a_killed_generation_goes_on() -> None:
    def behave(ask: Ask) -> Answer:
        return Answer(hang=True) if ask.number > 3 else echoes(ask)

    with ChatServer(behave) as server:
        arguments = ["--prompts", write("p.jsonl", *PROMPTS), "--out", "g.jsonl", "--url", server.url]
        command = [sys.executable, "-m", "metapo", "eval", "generate", *arguments, "--max-in-flight", "1"]
        process = subprocess.Popen(command)
        while server.n_requests < 4:
            time.sleep(0.02)
        process.kill()
        process.wait()
        assert len(rows()) == 2
        server.behaviour, n = echoes, server.n_requests
        assert generate("--url", server.url).exit_code == 0
        assert server.n_requests == n + 1 + 3
    assert len(rows()) == len(texts()) == 5


# --- the record


def test_other_settings_models_and_prompts_are_refused() -> None:
    with ChatServer(echoes) as server:
        assert generate("--url", server.url).exit_code == 0
        n = server.n_requests
        hot = generate("--url", server.url, "--temperature", 1)
        assert (
            "Error: g.jsonl holds completions with temperature 0, at most 400 tokens; this is temperature 1, at most "
            "400 tokens, seed 0."
        ) in hot.stderr
        changed = generate("--url", server.url, prompts=[{**PROMPTS[0], "label": "WRONG"}])
        assert "holds a completion with the id '1' for another prompt, reference or label" in changed.stderr
        assert server.n_requests == n, "refused before anything is asked"
        more = [*PROMPTS, {"prompt": "One more."}]
        other = generate("--url", server.url, "--model", "other", prompts=more)
        assert "Error: g.jsonl holds completions of default at" in other.stderr
        assert (hot.exit_code, changed.exit_code, other.exit_code) == (1, 1, 1)
        assert len(rows()) == 5


def generated(name: str, text: str) -> Generated:
    sampling = Sampling(max_tokens=3, temperature=0.5, seed=1)
    return Generated(id=name, prompt=text, completion=text, model=text, finish_reason="stop", sampling=sampling)


@given(st.lists(odd_texts, max_size=3), st.sampled_from([None, True, 1, 0.5, "1"]))
def test_rows_come_back_as_they_were(written: list[str], label: Any) -> None:
    found = {str(i): generated(str(i), text).model_copy(update={"label": label}) for i, text in enumerate(written)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "new" / "g.jsonl"
        with open_generations(path) as generations:
            for row in found.values():
                generations.append(row)
        with open_generations(path) as generations:
            assert generations.rows == found
            assert [type(row.label) for row in generations.rows.values()] == [type(label)] * len(found)


def test_one_writer_at_a_time_and_no_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "g.jsonl"
    with open_generations(path), pytest.raises(RunInUse, match=r"another process is using .*jsonl"):
        open_generations(path).__enter__()
    path.write_text('{"prompt": "p", "completion": "c"}\n')
    with (
        pytest.raises(
            DataError, match=r"line 1: expected a completion that `metapo eval generate` wrote, but id: Field"
        ),
        open_generations(path),
    ):
        pass


def test_a_row_of_another_prompt_is_no_answer(tmp_path: Path) -> None:
    with open_generations(tmp_path / "g.jsonl") as generations:
        generations.append(generated("a", "old"))
        one, two = (Asked(id=name, messages=(Message(role="user", content="old"),)) for name in "ab")
        assert generations.waiting([one, two]) == [two]
        with pytest.raises(RunError, match="with the id 'a' for another prompt"):
            generations.waiting([Asked(id="a", messages=(Message(role="user", content="new"),))])


# --- prompts


def test_any_function_may_turn_a_source_into_prompts() -> None:
    def load(source: str) -> list[dict[str, Any]]:
        return [
            {"prompt": f"{source}?", "reference": 3, "label": 0.5, "cluster": "left aside"},
            {"prompt": "b", "id": 7},
        ]

    first, second = load_asked("a", load)
    assert (first.id, first.prompt, first.reference, first.label) == ("1", "a?", "3", 0.5)
    assert (second.id, second.messages) == ("7", (Message(role="user", content="b"),))


def test_halves_of_surrogates_do_no_harm() -> None:
    odd = [{"prompt": "\ud800?", "id": "\udc00", "reference": "\ud800", "label": "\ud800"}]
    with ChatServer(echoes) as server:
        for _ in range(2):
            assert generate("--url", server.url, "--temperature", 1, prompts=odd).exit_code == 0
        assert server.n_requests == 2
    assert rows()[0]["reference"] == "\ufffd"


def test_columns_can_be_named() -> None:
    data = [{"problem": "1+1", "solution": "2", "level": 5, "id": "x", "completion": "mine"}]
    with ChatServer(echoes) as server:
        named = ("--prompt-column", "problem", "--reference-column", "solution", "--label-column", "level")
        assert generate("--url", server.url, *named, prompts=data).exit_code == 0
    [row] = rows()
    assert (row["id"], row["prompt"], row["reference"], row["label"]) == ("x", "1+1", "2", 5)
    assert row["completion"].startswith("On 1+1")


def test_a_task_makes_the_prompts() -> None:
    Path("sums.py").write_text(
        "from metapo.rollout import Prompt\n"
        "from metapo.tasks.task import Columns, Task, text_in\n"
        "def read(raw, columns):\n"
        "    return Prompt(f'Add: {text_in(raw, columns.prompt)}', label=text_in(raw, columns.label))\n"
        "TASK = Task('sums', read, columns=Columns('q', label='a'))\n"
    )
    with ChatServer(echoes) as server:
        data = [{"q": "1+1", "a": "2"}]
        assert generate("--url", server.url, "--task", "sums.py", prompts=data).exit_code == 0
        [row] = rows()
        assert (row["prompt"], row["label"]) == ("Add: 1+1", "2")
        renamed = generate("--url", server.url, "--task", "sums.py", "--label-column", "b", prompts=data)
    assert "p.jsonl, row 1: no column 'b'; it has 'q', 'a'" in renamed.stderr


@pytest.mark.parametrize(("task", "room"), [("math", 1000), ("ethics", 500), ("generic", 400)])
def test_a_completion_has_as_much_room_as_in_training(task: str, room: int) -> None:
    story = {"title": "Late", "text": "I was late.", "action": "being late", "binarized_label": "RIGHT"}
    problem = {"problem": "1+1?", "answer": "2", "solution": "\\boxed{2}", "subject": "Algebra", "level": 1}
    data = [{"prompt": "Why?", "reference": "r", **story, **problem}]
    with ChatServer(echoes) as server:
        result = generate("--url", server.url, "--task", task, prompts=data)
        assert result.exit_code == 0, result.output
        assert server.asks[-1].body["max_tokens"] == room
        assert (
            generate("--url", server.url, "--task", task, "--max-tokens", 7, out="h.jsonl", prompts=data).exit_code == 0
        )
        assert server.asks[-1].body["max_tokens"] == 7


@pytest.mark.parametrize(
    "changed",
    [
        {"tools": [{"type": "function", "function": {"name": "add"}}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {}}}]},
                {"role": "tool", "content": "5"},
            ]
        },
    ],
)
def test_a_prompt_with_tools_is_refused_as_they_would_be_left_out(changed: dict[str, Any]) -> None:
    asked: list[dict[str, Any]] = [{"messages": [{"role": "user", "content": f"{i} + 3?"}]} for i in range(2)]
    with ChatServer(echoes) as server:
        assert generate("--url", server.url, "--task", "dialogue", prompts=asked).exit_code == 0
        result = generate("--url", server.url, "--task", "dialogue", prompts=[*asked, asked[0] | changed])
    assert result.exit_code == 1
    assert "p.jsonl, row 3: the prompt has tools or calls of tools" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "give either MODEL, a model folder or hub id, or --url"),
        (("m", "--url", "http://localhost:1/v1"), "give either MODEL, a model folder or hub id, or --url"),
        (("m", "--model", "x"), "--model is for a server: leave it out"),
        (("m", "--max-in-flight", 3), "--max-in-flight is for a server"),
        (("--url", "http://localhost:1/v1", "--max-batch", 3), "--max-batch is for a model in this process"),
        (("--url", ""), "an option is empty or wrong:\n  url: "),
        (("./gone",), "there is no model folder ./gone"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[object, ...], told: str) -> None:
    result = generate(*arguments)
    assert result.exit_code == 1
    assert f"Error: {told}" in result.stderr


# --- who reads the rows


def test_every_reader_takes_the_rows_as_they_are() -> None:
    with ChatServer(echoes) as server:
        assert generate("--url", server.url).exit_code == 0
        assert generate("--url", server.url, "--max-tokens", 99, out="h.jsonl").exit_code == 0
    right = call("eval", "accuracy", "g.jsonl")
    assert right.stdout.startswith("5 completions: 3 right, 2 wrong, 0 no verdict"), right.output
    solved = call("eval", "accuracy", "g.jsonl", "--kind", "math")
    assert solved.stdout.startswith("5 completions: 2 right, 3 wrong, 0 no verdict"), solved.output
    assert call("eval", "rouge", "g.jsonl").stdout.startswith("5 summaries")
    met = call("eval", "tournament", "g.jsonl", "h.jsonl", "--out", "m.jsonl", "--dry-run")
    assert met.stdout.startswith("4 matches; 4 need no request"), met.output
    assert call("audit", "g.jsonl").stdout.startswith("5 responses")
    Path("rubric.yaml").write_text(rubric().to_yaml())
    with ChatServer(verdicts()) as judge:
        arguments = ("--rubric", "rubric.yaml", "--rollouts", "g.jsonl", "--judge", judge.url, "--out", "scored.jsonl")
        scored = call("score", *arguments)
    assert scored.exit_code == 0, scored.output
    assert [row["reward"] for row in rows("scored.jsonl")] == [1.0] * 5
    agreed = call("eval", "agreement", "scored.jsonl", "--score", "reward", "--label", "raw")
    assert agreed.exit_code == 0, agreed.output
