"""What is estimated, held against what a run really asked: real trainer, policy, store and HTTP, a scripted judge."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from metapo.cli import main
from metapo.judge.endpoint import EndpointSettings, Price
from metapo.preflight.estimate import Estimate, estimate, n_evaluations, n_meta_steps
from metapo.preflight.ranges import Load, Range, call, exactly
from metapo.preflight.tokens import Assumptions
from metapo.rollout import Prompt
from metapo.rubric import Rubric
from metapo.rubric_text import render_criterion
from metapo.settings import MonitorSettings, PanelSettings, TrainSettings
from tests.servers import Answer, Ask, ChatServer, completion, sends, verdicts
from tests.trainer import PLAIN, SOUND, judge_and_meta

PROMPTS = [f"Say in a sentence or two why number {i} is a good number, and what it is good for." for i in range(12)]


def settings(url: str = "http://127.0.0.1:9/v1", **more: Any) -> TrainSettings:
    """Six steps of eight completions, meta steps as published after the second and the fourth."""
    judge = {"url": url, "model": "m", "structured": "none", **more.pop("judge", {})}
    data = {
        "rubric": {"criteria": [PLAIN.model_dump(mode="json")]},
        "judge": judge,
        "judging": {"cache": False, "warm_up": False, **more.pop("judging", {})},
        "meta": {"method": "mpo", "every": 2, "samples": 3, **more.pop("meta", {})},
        "data": {"train": "prompts.jsonl"},
        "policy": {"model": "policy"},
        "engine": {
            "steps": 6,
            "batch_size": 8,
            "num_generations": 4,
            "max_completion_tokens": 16,
            "device": "cpu",
            **more.pop("engine", {}),
        },
        **more,
    }
    return TrainSettings.model_validate(data)


def told(**more: Any) -> Assumptions:
    return Assumptions(completion_tokens=Range(4, 16), criteria=exactly(1), **more)


def estimated(of: TrainSettings, n_eval: int = 0, **more: Any) -> Estimate:
    return estimate(of, [Prompt(p) for p in PROMPTS], [Prompt(p) for p in PROMPTS[:n_eval]], told(**more))


def calls(found: Estimate) -> dict[str, tuple[float, float]]:
    """By name, those to several endpoints together."""
    known: dict[str, Range] = {}
    for part in found.parts:
        known[part.name] = known.get(part.name, exactly(0)) + part.load.calls
    return {name: (n.low, n.high) for name, n in known.items()}


# --- the arithmetic, by hand


def test_a_run_without_meta_steps_is_counted_by_hand() -> None:
    found = estimated(settings(meta={"every": 0}), n_eval=5)
    assert calls(found) == {
        "who answers, and how": (1, 1),
        "training, judged": (48, 48),
        "evaluation, judged": (5, 5),
    }


def test_every_judge_every_criterion_and_the_monitor_are_counted() -> None:
    other = EndpointSettings(url="http://127.0.0.1:10/v1", model="o", structured="none")
    two = Rubric(criteria=(PLAIN, SOUND))
    of = settings(meta={"every": 0}, judging={"mode": "split", "warm_up": True})
    of = of.model_copy(
        update={"rubric": two, "panel": PanelSettings(judges=(other,)), "monitor": MonitorSettings(judge=other)}
    )
    assert calls(estimated(of, n_eval=5)) == {
        "who answers, and how": (2, 2),
        "warm-ups": (2, 2),
        "training, judged": (2 * 2 * 48, 2 * 2 * 48),
        "training, watched": (2 * 48, 2 * 48),
        "evaluation, judged": (2 * 2 * 5, 2 * 2 * 5),
        "evaluation, watched": (2 * 5, 2 * 5),
    }


def test_a_share_of_the_monitor_is_drawn_at_random() -> None:
    of = settings(meta={"every": 0})
    low, high = calls(estimated(of.model_copy(update={"monitor": MonitorSettings(judge=of.judge, share=0.5)})))[
        "training, watched"
    ]
    assert (low, high) == (pytest.approx(24 - 2 * 12**0.5), pytest.approx(24 + 2 * 12**0.5))


def test_a_solution_is_prepared_once_a_prompt_and_a_plan_at_most_once_a_group() -> None:
    solve, plan = ({"judging": {"first": first}} for first in ("solve", "plan"))
    assert calls(estimated(settings(meta={"every": 0}, **solve)))["training, prepared"] == (12, 12)
    assert calls(estimated(settings(**plan)))["training, prepared"] == (12, 12)
    assert calls(estimated(settings(engine={"steps": 12}, **plan)))["training, prepared"] == (12, 24)


def test_money_follows_the_price_and_time_the_rate() -> None:
    of = settings(
        meta={"every": 0},
        judge={"price": Price(prompt=1.0, completion=10.0), "requests_per_minute": 24, "max_in_flight": 2},
    )
    found = estimated(of, chars_per_token=exactly(4), reply_tokens=exactly(7), judge_s=exactly(1.0))
    assert found.usd is not None
    assert found.usd.low == pytest.approx(
        found.all.prompt_tokens.low // 1 * 1e-6 + found.all.reply_tokens.low * 1e-5, rel=0.01
    )
    assert found.seconds_judging == exactly(6 * 20.0)  # 8 requests a step at 24 a minute; 4 rounds of a second without
    slow = estimated(settings(meta={"every": 0}, judge={"max_in_flight": 2}), judge_s=exactly(1.0))
    assert slow.seconds_judging == exactly(6 * 4.0)


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"every": 0}, (0, 0)),
        ({"every": 10}, (19, 19)),
        ({"every": 10, "budget": {"steps": 4}}, (4, 4)),
        ({"method": "metapo", "every": 10}, (11, 66)),
    ],
)
def test_meta_steps_are_those_that_the_schedule_begins(meta: dict[str, Any], expected: tuple[int, int]) -> None:
    found = n_meta_steps(settings(meta=meta, engine={"steps": 200}))
    assert (found.low, found.high) == expected


@pytest.mark.parametrize(("every", "expected"), [(0, 1), (2, 3), (4, 2), (7, 1)])
def test_evaluations(every: int, expected: int) -> None:
    assert n_evaluations(settings(engine={"eval_every": every})) == expected


def test_ranges() -> None:
    assert Range(1, 2) + Range(3, 4) == Range(4, 6)
    assert Range(1, 2) * Range(3, 4) == Range(3, 8)
    assert Range(6, 12) / Range(2, 3) == Range(2, 6)
    assert call(exactly(10), Range(1, 2)).times(exactly(3)) == Load(exactly(3), exactly(30), Range(3, 6))


# --- against a run


def count(text: str) -> int:
    """Tokens by a rule of thumb of its own: words, and every other sign."""
    return len(re.findall(r"\w{1,6}|[^\w\s]", text))


def counting(ask: Ask) -> Answer:
    """Judge and meta model, with the tokens that they used."""
    body = json.loads(judge_and_meta(ask).body)
    text = body["choices"][0]["message"]["content"]
    n_prompt, n_reply = count("\n".join(m["content"] for m in ask.body["messages"])), count(text)
    return sends({**completion(text), "usage": {"prompt_tokens": n_prompt, "completion_tokens": n_reply}})(ask)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer(counting) as server:
        yield server


def test_a_small_run_asks_as_often_as_was_estimated(tmp_path: Path, tiny_model: Path, server: ChatServer) -> None:
    from metapo.engines.trl import train
    from metapo.store import Store

    of = settings(server.url, engine={"learning_rate": 1e-6}, meta={"max_words": 50})
    of = of.model_copy(update={"policy": of.policy.model_copy(update={"model": str(tiny_model)})})
    prompts = [Prompt(p) for p in PROMPTS]
    expected = estimate(of, prompts, prompts[:5], told(chars_per_token=Range(3, 5)))
    train(of, tmp_path / "run", prompts, prompts[:5])
    assert expected.all.calls == exactly(server.n_requests)
    store = Store(tmp_path / "run" / "store.db")
    spent = store.spent()
    store.close()
    assert expected.all.tokens.holds(spent.tokens)
    assert expected.all.tokens.high < 4 * expected.all.tokens.low  # else it would say little


# --- the command


def call_cli(*arguments: object) -> Any:
    return CliRunner().invoke(main, ["estimate", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("prompts.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in PROMPTS))
    of = settings(meta={"every": 0}).to_yaml()
    Path("settings.yaml").write_text(of)
    return Path("settings.yaml")


def test_the_command_tells_figures_and_what_is_assumed(file: Path) -> None:
    done = call_cli(file, "--completion-tokens", 10)
    assert done.exit_code == 0, done.output
    assert re.search(r"^training, judged +48 +", done.stdout, re.MULTILINE)
    assert "6 steps of 2 prompts with 4 completions each, of 12 prompts\n0 meta steps, 0 evaluations" in done.stdout
    assert "a completion has 10 tokens" in done.stdout
    assert "a token has 3 to 5 letters" in done.stdout
    assert "no price" in done.stdout


def test_json_has_the_same_figures(file: Path) -> None:
    found = json.loads(call_cli(file, "--json").stdout)
    assert found["all"]["calls"] == [49, 49]
    assert found["assumed"]["completion_tokens"] == [4, 16]


def test_what_is_measured_is_not_assumed(file: Path) -> None:
    with ChatServer(verdicts()) as server:
        text = file.read_text().replace("http://127.0.0.1:9/v1", server.url)
        file.write_text(text)
        done = call_cli(file, "--ask", 3, "--json")
        assert server.n_requests == 3
    assert done.exit_code == 0, done.output
    assumed = json.loads(done.stdout)["assumed"]
    assert assumed["judge_s"][1] < 5
    assert assumed["reply_tokens"] is not None


def test_a_judge_that_says_nothing_is_told(file: Path) -> None:
    file.write_text(file.read_text().replace("deadline_s: 120.0", "deadline_s: 0.2"))
    done = call_cli(file, "--ask", 2)
    assert done.exit_code == 1
    assert "none of 2 requests to http://127.0.0.1:9/v1 had a reply: try metapo judge check on it" in done.stderr


def test_a_criterion_is_written_out_in_each_prompt() -> None:
    """The scripted meta model writes one criterion, as the assumption in these tests says."""
    assert render_criterion(SOUND).count("<item") == 1
