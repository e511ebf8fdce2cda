"""`metapo rubric evolution` on a run's store: a judge on loopback whose verdicts follow the levels on offer."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metapo.cli import main
from metapo.rollout import Rollout
from metapo.rubric import Revision
from metapo.run import SETTINGS, STORE
from metapo.settings import Settings
from metapo.store import RolloutRecord, Store
from metapo.world.presets import arm_settings
from tests.helpers import criterion, rubric, verdict
from tests.servers import ChatServer, says, verdicts
from tests.world.essays import CONCLUSION, GOOD_PARTS, PROMPT, THESIS, TITLE
from tests.world.test_report import CHROMIUM, measure

ONE = Revision(rubric=rubric(criterion("depth", (0, 2, 5))), reason="given", proposer="settings", step=0)
TWO = Revision(
    rubric=rubric(criterion("depth", (0, 2, 6)), criterion("style", (0, 1))),
    parents=(ONE.id,),
    reason="<b>merged</b>",
    proposer="meta model",
    step=2,
)
RUN, OUT = Path("run"), Path("out")
TEXTS = [" ".join([TITLE, THESIS, *GOOD_PARTS[2 : 2 + i], CONCLUSION]) for i in range(5)]
STRICT = verdicts(lambda points: 5 if 5 in points else min(points))  # the best of ONE's levels, the worst of TWO's


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(settings: Settings, clusters: tuple[str, ...] = ("",), first: Revision = ONE) -> None:
    """A run of four steps, whose rubric changed after the second in each cluster."""
    RUN.mkdir()
    (RUN / SETTINGS).write_text(settings.to_yaml())
    store = Store(RUN / STORE)
    attempt = store.begin_attempt(resumed_step=0, now=datetime(2026, 1, 1, tzinfo=UTC))
    store.adopt(attempt, 0, first)
    second = TWO.model_copy(update={"parents": (first.id,)})
    for i, cluster in enumerate(clusters):
        store.adopt(attempt, 2, second, cluster)
        store.append_rollouts(attempt, [record(first, step, i, cluster) for step in (0, 1)])
        store.append_rollouts(attempt, [record(second, step, i, cluster) for step in (2, 3)])
    store.close()


def record(revision: Revision, step: int, place: int, cluster: str) -> RolloutRecord:
    rollout = Rollout(
        prompt=PROMPT.replace("wind farms", ["wind farms", "night trains"][step % 2]),
        completion=TEXTS[step],
        step=step,
        position=place,
        cluster=cluster,
    )
    outcomes = tuple(verdict(c.id, c.max_points) for c in revision.rubric.criteria)
    return RolloutRecord(rollout, revision.id, 1.0, 1.0, 5.0, outcomes)


def settings(url: str, **changes: Any) -> Settings:
    judge = {"url": url, "model": "judge", "deadline_s": 5}
    return Settings.model_validate({"rubric": ONE.rubric, "judge": judge, **changes})


def evolution(*options: object) -> Result:
    return CliRunner().invoke(main, ["rubric", "evolution", str(RUN), "--out", str(OUT), *map(str, options)])


def written() -> Any:
    return json.loads((OUT / "evolution.json").read_text())


def test_a_stricter_revision_is_told_and_nothing_is_asked_twice() -> None:
    with ChatServer(STRICT) as server:
        make_run(settings(server.url))
        first = evolution()
        n_requests = server.n_requests
        again = evolution()
        assert server.n_requests == n_requests + 1, "one token to see who answers, and no verdict"
    assert first.exit_code == again.exit_code == 0, first.output
    [cluster] = written()["clusters"]
    one, two = cluster["revisions"]
    assert (one["scores"]["mean"]["value"], two["scores"]["mean"]["value"]) == (1.0, 0.0)
    assert two["scores"]["mean"]["change"] == -1.0
    assert [r["step"] for r in cluster["rollouts"]] == [0, 1, 2, 3]
    assert (two["id"], two["step"], two["reason"]) == (TWO.id, 2, "<b>merged</b>")
    assert (two["text"]["n_criteria"], two["text"]["min_points"], two["text"]["max_points"]) == (2, 0, 7)
    assert "moves the score of the same rollouts by -1.00" in first.stdout
    page = (OUT / "evolution.html").read_text()
    assert page.count("<svg") == 7
    assert "judged under every revision by" in page
    assert first.stdout.splitlines()[1:] == again.stdout.splitlines()[1:], "all but what it took"


def test_a_monitor_and_a_meta_model_that_are_gone_are_not_asked() -> None:
    gone = {"url": "http://127.0.0.1:9/v1", "model": "gone", "deadline_s": 1}
    with ChatServer(STRICT) as server:
        make_run(settings(server.url, monitor={"judge": gone}, meta={"endpoint": gone}))
        result = evolution()
    assert result.exit_code == 0, result.output


def test_a_judge_that_fails_gives_no_low_scores() -> None:
    with ChatServer(says("no idea")) as server:
        make_run(settings(server.url))
        result = evolution()
    assert result.exit_code == 1
    assert "100% of the rollouts have no score" in result.stderr
    assert [r["scores"] for r in written()["clusters"][0]["revisions"]] == [None, None]
    assert (OUT / "evolution.html").exists()


def test_without_a_judge_there_are_figures_of_the_text() -> None:
    make_run(settings("http://127.0.0.1:9/v1"))
    result = evolution("--no-judge")
    assert result.exit_code == 0, result.output
    [cluster] = written()["clusters"]
    assert [(r["text"]["n_criteria"], r["scores"]) for r in cluster["revisions"]] == [(1, None), (2, None)]
    assert (OUT / "evolution.html").read_text().count("<svg") == 4


@pytest.mark.parametrize("options", [["--judge", "http://localhost:1/v1"], ["--rollouts", "file.jsonl"]])
def test_no_judge_and_what_to_judge_contradict_each_other(options: list[str]) -> None:
    make_run(settings("http://127.0.0.1:9/v1"))
    result = evolution("--no-judge", *options)
    assert result.exit_code == 1
    assert "leave out --rollouts and the options about the judge" in result.stderr


def test_rollouts_of_a_file_and_another_judge() -> None:
    rows = [{"prompt": f"prompt {i % 3}", "completion": text} for i, text in enumerate(TEXTS)]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_run(settings("http://127.0.0.1:9/v1"))
    with ChatServer(verdicts()) as server:
        result = evolution("--rollouts", "mine.jsonl", "--judge", server.url)
    assert result.exit_code == 0, result.output
    [cluster] = written()["clusters"]
    assert len(cluster["rollouts"]) == len(TEXTS)
    assert [r["scores"]["mean"]["value"] for r in cluster["revisions"]] == [1.0, 1.0]
    assert "5 rollouts of mine.jsonl" in (OUT / "evolution.html").read_text()


def test_options_replace_what_they_name_and_nothing_else() -> None:
    said = {"task_description": "Rhyme.", "judge_notes": "Count.", "judging": {"first": "plan"}}
    make_run(settings("http://127.0.0.1:9/v1", **said))
    with ChatServer(verdicts()) as server:
        assert evolution("--judge", server.url).exit_code == 0
        n, kept = server.n_requests, "\n".join(ask.prompt for ask in server.asks)
        assert evolution("--judge", server.url, "--task", "Sing.").exit_code == 0
        replaced = "\n".join(ask.prompt for ask in server.asks[n:])
    assert "Rhyme.\n\nCount." in kept
    assert "write the plan by which each of them" in kept
    assert "Sing.\n\nCount." in replaced


def test_what_a_screen_scored_is_no_part_of_the_fixed_set() -> None:
    with ChatServer(STRICT) as server:
        make_run(settings(server.url))
        store = Store(RUN / STORE)
        screened = replace(record(TWO, 4, 0, ""), outcomes=(), screened="too short")
        store.append_rollouts(1, [screened])
        store.close()
        assert evolution().exit_code == 0
    [cluster] = written()["clusters"]
    assert [r["step"] for r in cluster["rollouts"]] == [0, 1, 2, 3]


def test_each_cluster_has_its_own_lineage_and_rollouts() -> None:
    with ChatServer(STRICT) as server:
        make_run(settings(server.url), clusters=("essays", "poems"))
        result = evolution("--n", 2)
    assert result.exit_code == 0, result.output
    essays, poems = written()["clusters"]
    assert (essays["cluster"], poems["cluster"]) == ("essays", "poems")
    assert {r["position"] for r in essays["rollouts"]} == {0}
    assert {r["position"] for r in poems["rollouts"]} == {1}
    assert [len(c["rollouts"]) for c in (essays, poems)] == [2, 2]
    assert "poems: 1 to 2 criteria" in result.stdout


def test_a_budget_ends_it_before_anything_is_written() -> None:
    with ChatServer(STRICT) as server:
        make_run(settings(server.url, budget={"tokens": 1}))
        result = evolution()
    assert result.exit_code == 1
    assert "1 of 2 rubrics took budget.tokens = 1" in result.stderr
    assert not OUT.exists()


def test_a_run_that_never_began_is_named() -> None:
    RUN.mkdir()
    Store(RUN / STORE).close()
    result = evolution("--no-judge")
    assert result.exit_code == 1
    assert "has no revision yet" in result.stderr


def test_a_run_of_the_offline_world_is_judged_in_this_process() -> None:
    world = arm_settings("mpo", seed=5, steps=4)
    first = Revision(rubric=world.rubric, reason="given", proposer="settings", step=0)
    make_run(world, first=first)
    result = evolution()
    assert result.exit_code == 0, result.output
    assert written()["judge"] == "world-judge sway=0.25 seed=5"
    assert evolution("--mode", "split").exit_code == 0
    assert written()["judge"] == "world-judge sway=0.25 seed=5", "who judges wasn't named"
    assert all(r["n_unscored"] == 0 for r in written()["clusters"][0]["revisions"])


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")
def test_the_page_fits_phone_and_desktop(tmp_path: Path) -> None:
    with ChatServer(STRICT) as server:
        make_run(settings(server.url), clusters=("essays", "poems"))
        assert evolution().exit_code == 0
    for frame in measure(OUT / "evolution.html", tmp_path, dark=False):
        assert frame["open"] <= frame["width"]
        assert frame["smallest"] >= 11
        assert frame["outside"] == []
