"""Every route, asked as users ask it, on a real server with a judge on loopback."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families

from metapo.rubric import Revision
from metapo.server.options import Limits, Unscored
from metapo.store import Counting, Store
from tests.helpers import rubric
from tests.server.parts import Up, check_error, one, running, served
from tests.servers import Answer, Ask, ChatServer, says, verdicts


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with served(tmp_path_factory.mktemp("run") / "run") as server:
        yield server


def test_scores_come_in_order_with_verdicts(up: Up) -> None:
    body = {"rollouts": [one(f"answer {i}", key=f"in-order/{i}")["rollouts"][0] for i in range(5)]}
    answer = up.post("/v1/score", body)
    assert answer.status_code == 200
    scored = answer.json()["rollouts"]
    assert [s["key"] for s in scored] == [f"in-order/{i}" for i in range(5)]
    assert [s["reward"] for s in scored] == [1.0] * 5
    assert scored[0]["raw"] == 6.0
    assert [(v["criterion"], v["points"]) for v in scored[0]["verdicts"]] == [("depth", 5), ("style", 1)]
    assert scored[0]["revision"] == up.get("/v1/rubric").json()["id"]


def test_a_key_is_scored_once(up: Up) -> None:
    first = up.post("/v1/score", one("only once", key="once")).json()
    asked = up.judge.n_requests
    assert up.post("/v1/score", one("only once", key="once")).json() == first
    assert up.judge.n_requests == asked


def test_chat_messages_are_scored(up: Up) -> None:
    messages = [{"role": "user", "content": "Bike lanes?"}]
    said = [{"role": "assistant", "content": "Yes."}]
    answer = up.post("/v1/score", {"rollouts": [{"prompt": messages, "completion": said, "step": 0}]})
    assert answer.json()["rollouts"][0]["reward"] == 1.0


def test_messages_that_cannot_be_read_are_refused(up: Up) -> None:
    body = {"rollouts": [{"prompt": [{"role": "king", "content": "x"}], "completion": "y", "step": 0}]}
    check_error(up.post("/v1/score", body), 422, "unreadable")


def test_what_a_policy_may_write_is_scored(up: Up) -> None:
    """NUL and halves of surrogate pairs stand in completions of real policies: no reason to stop a training run."""
    raw = b'{"rollouts": [{"prompt": "p", "completion": "a\\u0000b \\ud800 c", "step": 0}]}'
    assert up.post_raw("/v1/score", raw).json()["rollouts"][0]["reward"] == 1.0


def test_what_a_policy_wrote_is_on_record_as_it_was(tmp_path: Path) -> None:
    with served(tmp_path / "run") as up:
        for _ in range(2):
            assert up.post("/v1/score", one("a\x00b \x10 c", key="k")).json()["rollouts"][0]["reward"] == 1.0
    with closing(Store(tmp_path / "run" / "store.db")) as store:
        [record] = store.batch(1, 0, None)
    assert record.rollout.completion == "a\x00b \x10 c"


def test_the_rubric_in_force_and_its_lineage(up: Up) -> None:
    found = up.get("/v1/rubric", params={"cluster": "poems"}).json()
    revision = Revision.model_validate(found["revision"])
    assert revision.id == found["id"]
    assert revision.rubric == rubric()
    assert found["cluster"] == "poems"
    lineage = up.get("/v1/rubric/lineage").json()
    assert [a["id"] for a in lineage["adoptions"]] == [found["id"]]
    assert lineage["meta_steps"] == []
    assert up.get(f"/v1/rubric/{found['id'][:10]}").json()["revision"] == found["revision"]


def test_a_revision_that_nobody_has_is_told(up: Up) -> None:
    message = check_error(up.get("/v1/rubric/0123abcd"), 404, "unknown_revision")
    assert "0123abcd" in message
    check_error(up.get("/v1/rubric/latest"), 422, "invalid")


def test_steps_evolve_and_feedback(up: Up) -> None:
    assert up.post("/v1/step", {"step": 0}).json() == {"step": 0}
    asked = up.post("/v1/evolve", {"who": "ada", "why": "too long"})
    assert asked.status_code == 202
    assert asked.json()["act"] >= 1
    pairs = [
        {"prompt": "p", "better": "good", "worse": "bad"},
        {"prompt": "q", "better": "x", "worse": "y", "why": "z"},
    ]
    assert up.post("/v1/feedback", {"who": "ada", "pairs": pairs}).json() == {"pinned": 2}


def test_the_end_of_training_notes_the_last_figures_once(tmp_path: Path) -> None:
    with served(tmp_path / "run") as up:
        up.post("/v1/score", one(step=3))
        up.post("/v1/score", one(step=4, split="eval"))
        for _ in range(2):
            assert httpx2.post(f"{up.url}/v1/finish", timeout=30).json() == {"step": 4}
    store = Store(tmp_path / "run" / "store.db")
    assert [(row["kind"], row["step"]) for _, row in store.metrics()] == [("train", 3), ("eval", 4)]
    store.close()


def test_feedback_with_equal_completions_names_the_pair(up: Up) -> None:
    pairs = [{"prompt": "p", "better": "good", "worse": "bad"}, {"prompt": "p", "better": "x", "worse": "x"}]
    message = check_error(up.post("/v1/feedback", {"who": "ada", "pairs": pairs}), 422, "unreadable")
    assert message.startswith("pair 1: both completions are the same")


def test_openrlhf_as_it_asks(up: Up) -> None:
    """What SingleTurnAgentExecutor of OpenRLHF 0.11.2 sends (openrlhf/utils/agent.py, _fetch_rewards_via_http): one
    query that is the decoded prompt and answer with special tokens, and reads (execute, below it)."""
    prompt = "<|im_start|>user\nBike lanes?<|im_end|>\n<|im_start|>assistant\n"
    payload = {"query": [f"{prompt}Yes.<|im_end|>"], "prompts": [prompt], "labels": [None]}
    with httpx2.Client() as client:
        answer = client.post(f"{up.url}/get_reward", json=payload, headers={"Accept": "*/*", "User-Agent": "aiohttp"})
    answer.raise_for_status()
    info = answer.json()
    assert info["rewards"] == info["scores"] == [1.0]
    assert info["extra_logs"]["unscored"] == [0.0]
    assert any("~ completion\nYes.< |im_end| >\n~" in ask.prompt for ask in up.judge.asks)


def test_openrlhf_several_queries_and_labels(up: Up) -> None:
    payload = {"query": ["p1a", "p2b"], "prompts": ["p1", "p2"], "labels": ["forty-two", ""]}
    assert up.post("/get_reward", payload).json()["rewards"] == [1.0, 1.0]
    assert sum("forty-two" in ask.prompt for ask in up.judge.asks) == 1


def test_openrlhf_query_without_its_prompt_is_told(up: Up) -> None:
    message = check_error(
        up.post("/get_reward", {"query": ["a lost prompt"], "prompts": ["a long prompt"], "labels": [""]}),
        422,
        "prompt_not_in_query",
    )
    assert "they part at character 4 of the prompt's 13" in message
    assert "lost" not in message
    message = check_error(up.post("/get_reward", {"query": ["pa"], "prompts": [], "labels": [""]}), 422, "invalid")
    assert "have 1, 0 and 1" in message


def test_slime_as_it_asks(up: Up) -> None:
    """slime/rollout/rm_hub/__init__.py, remote_rm: the body of the answer is the reward."""
    payload = {"prompt": "Bike lanes?", "response": "Yes.", "label": None}
    assert up.post("/score", payload).json() == 1.0
    detailed = up.post("/score?detail=true", {**payload, "label": 42}).json()
    assert (detailed["reward"], detailed["unscored"]) == (1.0, False)


def test_figures_for_prometheus(up: Up) -> None:
    up.post("/v1/score", one("counted", split="eval"))
    check_error(up.get("/nowhere"), 404, "no_such_path")
    found = {s.name: s for f in text_string_to_metric_families(up.get("/metrics").text) for s in f.samples}
    assert found["metapo_step"].value >= 0
    assert found["metapo_stopped"].value == 0
    samples = [s for f in text_string_to_metric_families(up.get("/metrics").text) for s in f.samples]
    evaluated = [s for s in samples if s.name == "metapo_rollouts_total" and s.labels["split"] == "eval"]
    assert evaluated[0].value >= 1
    assert any(s.labels.get("code") == "no_such_path" for s in samples)
    assert not any("0123abcd" in str(s.labels) for s in samples), "paths that users make up are no labels"


def test_status_tells_how_it_stands(up: Up) -> None:
    before = up.get("/v1/status").json()
    up.post("/v1/score", one("for the status"))
    after = up.get("/v1/status").json()
    assert after["rollouts"] == before["rollouts"] + 1
    assert after["stopped"] is None


def test_a_step_tells_what_it_lost_so_far(tmp_path: Path) -> None:
    with ChatServer(says("I would rather not say.")) as judge, running(tmp_path / "run", judge) as up:
        none = {"rollouts": 0, "unscored": 0, "max_unscored": 1.0, "stopped": None}
        assert up.get("/v1/step/1").json() == {"step": 1, **none}
        for key in ("a", "b", "b"):
            up.post("/v1/score", one(f"completion {key}", key=key))
        up.post("/v1/score", one("shown", split="eval"))
        assert up.get("/v1/step/0").json() == {"step": 0, **none, "rollouts": 2, "unscored": 2}
        check_error(up.get("/v1/step/-1"), 422, "invalid")


def test_a_request_keeps_its_id(up: Up) -> None:
    assert up.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert up.get("/healthz", headers={"X-Request-Id": "not mine!"}).headers["x-request-id"] != "not mine!"


# --- what depends on how the server was begun


def test_an_unscored_rollout_is_null_with_its_reasons(tmp_path: Path) -> None:
    with ChatServer(says("no")) as judge, running(tmp_path / "run", judge) as up:
        [scored] = up.post("/v1/score", one()).json()["rollouts"]
    assert scored["reward"] is None
    assert scored["verdicts"] == []
    assert {(u["criterion"], u["reason"]) for u in scored["unscored"]} == {
        ("depth", "unparsable"),
        ("style", "unparsable"),
    }


def test_unscored_raise_is_an_error_for_engines(tmp_path: Path) -> None:
    with served(tmp_path / "run") as up:
        up.judge.behaviour = says("no")
        response = up.post("/get_reward", {"query": ["pa"], "prompts": ["p"], "labels": [""]})
        message = check_error(response, 503, "unscored")
        assert "depth: unparsable" in message
        check_error(up.post("/score", {"prompt": "p", "response": "b"}), 503, "unscored")


def by_completion(ask: Ask) -> Answer:
    """Likes what is good, dislikes what is bad, and can't judge the rest."""
    said = ask.prompt.partition("~ completion")[2]
    behaviour = verdicts(max) if "good" in said else verdicts(min) if "bad" in said else says("no")
    return behaviour(ask)


def test_unscored_neutral_is_the_mean_of_the_step_so_far(tmp_path: Path) -> None:
    counting = Counting(groups=1, group_size=4)
    with (
        ChatServer(by_completion) as judge,
        running(tmp_path / "run", judge, counting=counting, unscored=Unscored.NEUTRAL) as up,
    ):

        def ask(response: str) -> httpx2.Response:
            return up.post("/score?detail=1", {"prompt": "p", "response": response})

        assert "no other rollout of its step" in check_error(ask("first"), 503, "unscored")
        assert [ask(text).json()["reward"] for text in ("good", "bad")] == [1.0, 0.0]
        neutral = ask("fourth").json()
        assert (neutral["reward"], neutral["unscored"]) == (0.5, True)


def test_unscored_neutral_is_no_mean_of_what_no_longer_counts(tmp_path: Path) -> None:
    """The trainer went back, and told another server of the run."""
    counting = Counting(groups=4, group_size=4)
    with (
        ChatServer(by_completion) as judge,
        running(tmp_path / "run", judge, counting=counting, unscored=Unscored.NEUTRAL) as up,
        running(tmp_path / "run", judge) as other,
    ):
        assert up.post("/score", {"prompt": "p", "response": "good"}).json() == 1.0
        assert up.post("/score", {"prompt": "p", "response": "no verdict"}).json() == 1.0
        assert other.post("/v1/step", {"step": 0, "resumed": True}).status_code == 200
        response = up.post("/score", {"prompt": "p", "response": "no verdict"})
        assert "no other rollout of its step" in check_error(response, 503, "unscored")


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"unscored": None, "counting": None}, "--groups-per-step N, as they tell no step, and --unscored"),
        ({"unscored": None}, "start with --unscored raise or neutral"),
        ({"counting": None}, "start with --groups-per-step N"),
    ],
)
def test_engines_need_to_be_set_up(tmp_path: Path, options: dict[str, object], missing: str) -> None:
    with served(tmp_path / "run", **options) as up:
        assert missing in check_error(up.post("/score", {"prompt": "p", "response": "b"}), 409, "not_set_up")
        payload = {"query": ["pa"], "prompts": ["p"], "labels": [""]}
        assert missing in check_error(up.post("/get_reward", payload), 409, "not_set_up")


def test_without_counting_a_rollout_without_a_step_belongs_to_the_open_one(tmp_path: Path) -> None:
    with served(tmp_path / "run", counting=None) as up:
        assert up.post("/v1/step", {"step": 7}).json() == {"step": 7}
        assert up.post("/v1/score", one(step=None)).json()["rollouts"][0]["step"] == 7


def test_a_run_that_stopped_says_so_everywhere(tmp_path: Path) -> None:
    with (
        ChatServer(by_completion) as judge,
        running(tmp_path / "run", judge, told={"max_unscored": 0.1}) as up,
    ):
        assert up.post("/v1/score", one("no verdict")).json()["rollouts"][0]["reward"] is None
        message = check_error(up.post("/v1/score", one("good", step=1)), 409, "too_many_unscored")
        assert "more than max_unscored" in message
        check_error(up.post("/v1/score", one("good", step=1)), 409, "too_many_unscored")
        assert "max_unscored" not in check_error(up.get("/readyz"), 503, "run_stopped")
        assert up.get("/healthz").status_code == 200
        assert "more than max_unscored" in up.get("/v1/status").json()["stopped"]
        assert "metapo_stopped 1.0" in up.get("/metrics").text
        assert up.get("/v1/rubric").status_code == 200


def test_end_marks_are_cut_off(tmp_path: Path) -> None:
    with served(tmp_path / "run", end_marks=("<|im_end|>",)) as up:
        up.post("/get_reward", {"query": ["pYes.<|im_end|>"], "prompts": ["p"], "labels": [""]})
        assert "~ completion\nYes.\n~" in up.judge.asks[-1].prompt


def test_events_come_go_on_and_end_with_the_server(tmp_path: Path) -> None:
    limits = Limits(poll_s=0.02, heartbeat_s=0.1, grace_s=5)
    with served(tmp_path / "run", limits=limits) as up:
        for step in range(3):
            up.post("/v1/score", one(step=step))
        with httpx2.stream("GET", f"{up.url}/v1/events", timeout=10) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.iter_lines()
            first = events_until(lines, 1)
            assert (first["kind"], first["step"]) == ("train", 0)
            second = events_until(lines, 2)
            up.post("/v1/score", one(step=3))
            assert events_until(lines, 3)["step"] == 2
            assert any(line.startswith(": still here") for line in lines)
        with httpx2.stream("GET", f"{up.url}/v1/events", headers={"Last-Event-ID": "1"}, timeout=10) as response:
            assert events_until(response.iter_lines(), 2) == second
        check_error(up.get("/v1/events", headers={"Last-Event-ID": "x"}), 422, "invalid")
        with httpx2.stream("GET", f"{up.url}/v1/events?after=3", timeout=10) as response:
            up.stop()
            assert [line for line in response.iter_lines() if line.startswith("id")] == []


def events_until(lines: Iterator[str], number: int) -> dict[str, object]:
    """The row of the event with this number, which comes next."""
    for line in lines:
        if line.startswith("id: "):
            assert line == f"id: {number}"
            kind, data = next(lines), next(lines)
            row: dict[str, object] = json.loads(data.removeprefix("data: "))
            assert kind == f"event: {row['kind']}"
            return row
    raise AssertionError("the stream ended")


def test_the_store_is_looked_into_once_for_all_listeners(tmp_path: Path) -> None:
    limits = Limits(poll_s=0.1, grace_s=5)
    with served(tmp_path / "run", limits=limits) as up, ExitStack() as listening:
        for step in range(2):
            up.post("/v1/score", one(step=step))
        streams = [
            listening.enter_context(httpx2.stream("GET", f"{up.url}/v1/events", params={"after": i % 2}, timeout=10))
            for i in range(12)
        ]
        lines = [stream.iter_lines() for stream in streams]
        for i in range(0, 12, 2):
            assert events_until(lines[i], 1)["step"] == 0
        began = time.monotonic()
        with statements() as executed:
            time.sleep(1)
        n_looks = sum("FROM metric" in statement for statement in executed)
        assert 1 <= n_looks <= (time.monotonic() - began) / limits.poll_s + 1
        up.post("/v1/score", one(step=2))
        assert [events_until(line, 2)["step"] for line in lines] == [1] * 12


@contextmanager
def statements() -> Iterator[list[str]]:
    """What any database in this process is asked while the block lasts."""
    executed: list[str] = []

    def note(*told: Any) -> None:
        executed.append(told[2])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield executed
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


def test_listeners_are_bounded(tmp_path: Path) -> None:
    limits = Limits(max_listeners=1, poll_s=0.02, grace_s=5)
    with served(tmp_path / "run", limits=limits) as up, httpx2.stream("GET", f"{up.url}/v1/events") as response:
        lines = response.iter_lines()
        assert next(lines) == "retry: 2000"
        check_error(up.get("/v1/events"), 503, "overloaded")
