"""TRL's own tool loop: a tiny model writes calls, a function answers them, and the whole dialogue is judged."""

import inspect
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from datasets import Dataset
from tokenizers import AddedToken
from transformers import Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer
from trl.chat_template_utils import qwen2_5_chat_template

from metapo.cli import main
from metapo.engines.models import load_tokenizer
from metapo.engines.tools import offer, tool_loop
from metapo.engines.trl import EvolvingReward
from metapo.errors import DataError, MissingExtra, ModelError, SettingsError
from metapo.files import read_rows
from metapo.judge.template import unfence
from metapo.rollout import Prompt, Split
from metapo.settings import Settings, TrainSettings
from metapo.shipped import shipped_rubric
from metapo.store import RolloutRecord, Store
from metapo.turns import Role
from tests.servers import Answer, Ask, ChatServer, says, verdicts

ASKED = {"role": "user", "content": "2 + 3?"}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}
WRITTEN = '<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>'
RIGHT, WRONG = "It is 5.", "It is 9."


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


@pytest.fixture(scope="module")
def caller(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learned to call `add` and, once it sees the result, to answer rightly or wrongly.

    The call and both answers are a token each; which of them comes when is what it learned, in Qwen2.5's template.
    """
    folder = tmp_path_factory.mktemp("caller") / "model"
    tokenizer = load_tokenizer(str(tiny_model))
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in (WRITTEN, RIGHT, WRONG)])
    tokenizer.chat_template = qwen2_5_chat_template
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    teach(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach(model: Any, tokenizer: Any) -> None:
    """Supervised steps on a dialogue with the right answer and one with the wrong one."""
    result = {"role": "tool", "name": "add", "content": "5"}
    begun = [ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}, result]
    dialogues = [[*begun, {"role": "assistant", "content": answer}] for answer in (RIGHT, WRONG)]
    ids = torch.tensor(tokenizer.apply_chat_template(dialogues, tools=[add], return_dict=False))
    said = torch.isin(ids, torch.tensor(tokenizer.convert_tokens_to_ids([WRITTEN, RIGHT, WRONG])))
    labels = torch.where(said | said.roll(1, dims=1), ids, -100)  # and the end of turn after each
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(100):
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def trusts_the_tool(ask: Ask) -> Answer:
    """A judge that gives its best where the tool's result and the same number in the answer are shown, else its
    worst."""
    shown = unfence("completion", ask.prompt)
    if shown is None:
        return says("yes")(ask)
    is_good = 'tool "add"\n5\n' in shown and shown.endswith(RIGHT)
    return verdicts(max if is_good else min)(ask)


def check_dialogues(records: list[RolloutRecord]) -> None:
    """Most call the tool and see its result; those that then say what it said are better than those that don't."""
    called = [r for r in records if [t.role for t in r.rollout.turns] == [Role.ASSISTANT, Role.TOOL, Role.ASSISTANT]]
    assert len(called) >= len(records) / 2
    for record in called:
        call, result, _ = record.rollout.turns
        assert (call.calls[0].name, json.loads(call.calls[0].arguments)) == ("add", {"a": 2, "b": 3})
        assert (result.name, result.content) == ("add", "5")
    assert {r.value for r in called if r.rollout.last_said == RIGHT} == {1.0}
    assert {r.value for r in called if r.rollout.last_said == WRONG} == {0.0}


def test_a_policy_that_calls_a_tool_is_judged_with_its_results(tmp_path: Path, caller: Path) -> None:
    with ChatServer(trusts_the_tool) as server:
        judge = {"url": server.url, "model": "judge", "deadline_s": 30}
        settings = Settings.model_validate({"rubric": shipped_rubric("dialogue/iter0"), "judge": judge})
        reward = EvolvingReward.open(tmp_path / "run", settings)
        with closing(reward):
            GRPOTrainer(
                model=str(caller),
                args=GRPOConfig(
                    output_dir=str(tmp_path / "out"),
                    max_steps=2,
                    per_device_train_batch_size=8,
                    num_generations=8,
                    max_completion_length=200,
                    use_cpu=True,
                    bf16=False,
                    report_to=[],
                    disable_tqdm=True,
                    save_strategy="no",
                ),
                processing_class=load_tokenizer(str(caller)),
                train_dataset=Dataset.from_list([{"prompt": [ASKED]}] * 2),
                reward_funcs=reward,
                callbacks=[reward.callback],
                tools=[add],
            ).train()
    store = Store(tmp_path / "run" / "store.db")
    records = store.rollouts()
    store.close()
    assert {r.rollout.prompt for r in records} == {"2 + 3?"}
    assert len(records) == 16
    check_dialogues(records)


TRAIN = """\
task_options: {{tools: tools.py}}
judge: {{url: "{url}", model: judge, deadline_s: 30}}
judging: {{turns: whole}}
meta: {{every: 0}}
data: {{train: rows.jsonl, eval: rows.jsonl, label_column: answer}}
policy: {{model: "{model}"}}
engine: {{steps: 2, batch_size: 8, max_completion_tokens: 200, device: cpu}}
"""


def test_the_command_line_runs_the_tools_of_a_file(
    tmp_path: Path, caller: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tools.py").write_text(f"{inspect.getsource(add)}\n\nTOOLS = [add]\n")
    Path("rows.jsonl").write_text(json.dumps({"messages": [ASKED], "answer": "5"}) + "\n")
    with ChatServer(trusts_the_tool) as server:
        Path("settings.yaml").write_text(TRAIN.format(url=server.url, model=caller))
        arguments = ["train", "settings.yaml", "--preset", "gpu/dialogue", "--out", "run"]
        result = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    store = Store(tmp_path / "run" / "store.db")
    records, evaluated = store.rollouts(), store.rollouts(split=Split.EVAL)
    store.close()
    assert (len(records), len(evaluated)) == (16, 1), "an evaluation writes one completion to each prompt"
    assert all('"name": "add"' in r.rollout.prompt for r in records), "the judge sees what was on offer"
    check_dialogues([r for r in records if not r.screened])
    [row] = [row for row in read_rows(tmp_path / "run" / "metrics.jsonl") if row["kind"] == "eval"]
    assert row["answer_holds_label"] == (evaluated[0].rollout.last_said == RIGHT)
    assert row["tool_errors"] == 0


# --- what is offered


def undocumented(a: int) -> int:
    return a


def untyped(a):  # type: ignore[no-untyped-def]
    """Nothing.

    Args:
        a: Something.
    """


def test_prompts_offer_the_functions_that_run() -> None:
    [plain, chat] = offer([Prompt("2 + 3?", label="5"), Prompt([ASKED], tools=[{"name": "add"}])], [add])
    assert plain.tools == chat.tools
    assert plain.tools[0]["function"]["parameters"]["required"] == ["a", "b"]
    assert (plain.content, plain.label, chat.content) == ("2 + 3?", "5", [ASKED])
    assert offer([chat], []) == [chat]


def test_tools_that_can_not_be_offered_are_told() -> None:
    with pytest.raises(DataError, match=r"'2 \+ 3\?' brings the tools sub; those that run are add, with every prompt"):
        offer([Prompt("2 + 3?", tools=[{"type": "function", "function": {"name": "sub"}}])], [add])
    for tool in (undocumented, untyped):
        with pytest.raises(SettingsError, match=rf"the tool {tool.__name__} can't be offered to a model: "):
            offer([Prompt("2 + 3?")], [tool])


# --- what a model and a trainer have to know


def settings(**engine: Any) -> TrainSettings:
    judge = {"url": "http://localhost/v1", "model": "m"}
    common = {"rubric": shipped_rubric("dialogue/iter0"), "judge": judge, "data": {"train": "x"}}
    return TrainSettings.model_validate({**common, "policy": {"model": "p"}, "engine": engine})


def test_a_model_that_can_not_call_tools_is_told(tiny_model: Path, caller: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_model))
    plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    unknown = plain + "{% for m in messages %}{{ m.tool_calls }}{% endfor %}"
    cases = ((None, "no place for calls"), (plain, "no place for calls"), (unknown, "Unrecognized chat template"))
    for template, told in cases:
        tokenizer.chat_template = template
        assert tool_loop([], settings(), tokenizer) == {}
        with pytest.raises(ModelError, match=rf"^p can't be trained with tools that run: .*{told}"):
            tool_loop([add], settings(), tokenizer)
    assert tool_loop([add], settings(), load_tokenizer(str(caller))) == {"tools": [add]}


def test_what_tools_need_is_told(caller: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(str(caller))
    with pytest.raises(SettingsError, match=r"engine.algorithm rloo runs no tools"):
        tool_loop([add], settings(algorithm="rloo"), tokenizer)
    monkeypatch.setattr("metapo.engines.tools.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"running tools needs the extra 'trl'"):
        tool_loop([add], settings(), tokenizer)
