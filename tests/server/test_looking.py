"""metapo ui: every route on a run's own record, what people do, what it refuses, and that nothing is disturbed."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from bench.ui.made import make, make_served
from pydantic import BaseModel

from metapo.files import hold
from metapo.people import WHEN
from metapo.rubric import Rubric
from metapo.run import LOCK, METRICS, STORE
from metapo.server import looking_examples as examples
from metapo.server.pages import HEADERS, Page
from metapo.store import ActKind, Store
from metapo.viewing import answers
from metapo.viewing.runs import open_runs
from tests.server.looking import Shown, shown
from tests.server.parts import TOKEN, check_error, served
from tests.store.raw import raw
from tests.store.test_store import FIRST, begin, record, written_under

PAGES = {"/": Page(b"<!doctype html>", "text/html; charset=utf-8"), "/app.js": Page(b"1;", "text/javascript")}
RUN = "/v1/runs/essay"
WHO = {"who": "ada", "why": "it reads well"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "essay", 1100, n_meta_steps=6)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Shown]:
    with shown(folder, pages=PAGES) as server:
        yield server


@pytest.fixture
def mine(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(folder, tmp_path / "essay"))


def nodes(server: Shown, status: str) -> list[dict[str, Any]]:
    found = server.get(f"{RUN}/lineage").json()["nodes"]
    return [node for node in found if node["status"] == status]


# --- what is shown


def asked(server: Shown) -> dict[str, str]:
    """A path for each route, by the name of its answer."""
    first, *_, last = server.get(f"{RUN}/lineage").json()["nodes"]
    rollout = server.get(f"{RUN}/rollouts?split=train").json()["rollouts"][0]
    step = server.get(f"{RUN}/meta-steps").json()["meta_steps"][0]["step"]
    return {
        "RunsAnswer": "/v1/runs",
        "RunAnswer": RUN,
        "MetricsAnswer": f"{RUN}/metrics",
        "TreeAnswer": f"{RUN}/lineage",
        "RevisionShown": f"{RUN}/revisions/{last['id'][:9]}",
        "DiffAnswer": f"{RUN}/diff?from={first['id']}&to={last['id']}",
        "CriteriaAnswer": f"{RUN}/criteria",
        "RolloutsAnswer": f"{RUN}/rollouts?limit=3&order=best&flag=repetition",
        "RolloutAnswer": f"{RUN}/rollouts/{rollout['id']}",
        "PromptAnswer": f"{RUN}/prompts/{rollout['prompt_id']}",
        "PairsAnswer": f"{RUN}/pairs?left={first['id']}&right={nodes(server, 'in_force')[0]['id']}",
        "MetaStepsAnswer": f"{RUN}/meta-steps?cluster=",
        "MetaStepAnswer": f"{RUN}/meta-steps/{step}",
        "ExchangeAnswer": f"{RUN}/meta-steps/{step}/exchanges/32",
        "ActsAnswer": f"{RUN}/acts",
        "AnchorsAnswer": f"{RUN}/anchors?source=anchor&limit=7",
    }


def test_every_answer_has_its_shape_and_holds_something(up: Shown) -> None:
    for name, path in asked(up).items():
        got = up.get(path)
        assert got.status_code == 200, got.text
        kind: type[BaseModel] = getattr(answers, name)
        told = kind.model_validate(got.json())
        assert json.loads(told.model_dump_json()) == got.json(), path
        lists = [value for value in got.json().values() if isinstance(value, list)]
        assert not lists or any(lists), path


def test_a_run_is_told_at_a_glance(up: Shown) -> None:
    listed = up.get("/v1/runs").json()
    assert listed["can_act"] is True
    [entry] = listed["runs"]
    assert (entry["run"], entry["step"], entry["n_waiting"], entry["problem"]) == ("essay", 17, 1, "")
    told = up.get(RUN).json()
    assert told["entry"] == entry
    assert told["n_rollouts"] == {"train": 17 * 64, "eval": 0}
    assert told["settings"]["judge"]["model"] == "judge"
    assert told["criteria"] == ["position", "reasons", "counterargument", "style"]
    assert set(told["flags"]) == {"too_short", "repetition", "speaks_to_grader", "unfinished"}
    assert {s["role"]: s["n_calls"] for s in told["spent"]} == {"judge": 17 * 64, "meta": 5 * 33}


def test_new_rows_alone_are_sent_to_who_knows_the_others(up: Shown) -> None:
    whole = up.get(f"{RUN}/metrics").json()
    more = up.get(f"{RUN}/metrics?after={whole['newest']}&generation={whole['generation']}").json()
    other = up.get(f"{RUN}/metrics?after={whole['newest']}&generation=another&columns=reward,words").json()
    assert (whole["is_whole"], more["is_whole"], more["series"], other["is_whole"]) == (True, False, [], True)
    assert [list(s["columns"]) for s in other["series"]] == [["reward", "words"]] * 2
    assert more["marks"] == whole["marks"]
    assert {mark["kind"] for mark in whole["marks"]} >= {"adopted", "rejected", "waiting"}


def test_the_lineage_tells_how_each_revision_stands(up: Shown) -> None:
    found = up.get(f"{RUN}/lineage").json()["nodes"]
    assert [n["status"] for n in found] == ["earlier", "earlier", "rejected", "in_force", "rejected", "waiting"]
    first, adopted = found[:2]
    assert (first["meta_step"], first["in_force_to"]) == (None, adopted["in_force_from"])
    assert adopted["parents"] == [first["id"]]
    assert [f["check"] for f in adopted["findings"]] == ["form", "fresh"]


def test_a_difference_is_told_by_the_word(up: Shown) -> None:
    first, second = up.get(f"{RUN}/lineage").json()["nodes"][:2]
    told = up.get(f"{RUN}/diff?from={first['id'][:8]}&to={second['id'][:8]}").json()
    changed = [f for c in told["criteria"] for f in c["fields"] if f["change"] == "~"]
    assert [(f["field"], f["points"]) for f in changed] == [("level", 3)]
    removed = "".join(w["text"] for w in changed[0]["words"] if w["change"] != "+")
    added = "".join(w["text"] for w in changed[0]["words"] if w["change"] != "-")
    assert removed == "is clear and convincing, as a reader would see it"
    assert added == "is clear, convincing and new in way 1"


# --- errors, each in the one shape


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/runs/nobody", 404, "unknown_run"),
        ("/v1/runs/..%2fessay", 404, "no_such_path"),
        ("/v1/runs/%00", 422, "invalid"),
        (f"{RUN}/revisions/ffff", 404, "unknown_revision"),
        (f"{RUN}/revisions/zz", 422, "invalid"),
        (f"{RUN}/diff?from=ffff&to=ffff", 404, "unknown_revision"),
        (f"{RUN}/diff", 422, "invalid"),
        (f"{RUN}/rollouts?cursor=bm9uZQ", 422, "unreadable"),
        (f"{RUN}/rollouts?limit=100000", 422, "invalid"),
        (f"{RUN}/rollouts?min_reward=nan", 422, "invalid"),
        (f"{RUN}/rollouts?order=random", 422, "invalid"),
        (f"{RUN}/rollouts?text=%00", 422, "invalid"),
        (f"{RUN}/rollouts?from_step=99999999999999999999", 422, "invalid"),
        (f"{RUN}/rollouts/1-train-999-0", 404, "unknown"),
        (f"{RUN}/rollouts/1-train-0-0'--", 422, "invalid"),
        (f"{RUN}/prompts/0000000000000000", 404, "unknown"),
        (f"{RUN}/pairs?left=ffff&right=ffff", 404, "unknown_revision"),
        (f"{RUN}/meta-steps/999", 404, "unknown"),
        (f"{RUN}/meta-steps/0/exchanges/0?cluster=nobody", 404, "unknown"),
        (f"{RUN}/anchors?cursor=WyJhbmNob3JzIiwgIngiXQ", 422, "unreadable"),
        (f"{RUN}/events?after=yesterday", 422, "invalid"),
        ("/v1/score", 404, "no_such_path"),
        ("/../../etc/passwd", 404, "no_such_path"),
    ],
)
def test_what_cannot_be_shown_is_told(up: Shown, path: str, status: int, code: str) -> None:
    check_error(up.get(path), status, code)


# --- what people do


def test_a_waiting_revision_is_approved_as_on_the_command_line(mine: Path) -> None:
    with shown(mine) as server:
        [waits] = server.get(f"{RUN}/acts").json()["waiting"]
        assert (waits["can_be_approved"], waits["if_approved"]) == (True, f"{waits['node']['id'][:10]} is in force")
        done = server.post(f"{RUN}/acts", {"kind": "approve", "about": waits["node"]["id"][:12], **WHO})
        assert (done.status_code, done.json()["when"]) == (202, WHEN)
        told = server.get(f"{RUN}/acts").json()
        assert (told["waiting"], nodes(server, "waiting")) == ([], [])
        assert told["acts"][-1]["told"] == f"approve {waits['node']['id'][:10]}, by ada"
        assert [node["id"] for node in nodes(server, "decided")] == [waits["node"]["id"]]
        again = server.post(f"{RUN}/acts", {"kind": "reject", "about": waits["node"]["id"], **WHO})
        assert "none does" in check_error(again, 409, "act_refused")
    with closing(Store(mine / STORE)) as store:
        act = store.acts()[-1]
        assert (act.kind, act.who, act.why, act.about) == (ActKind.APPROVE, "ada", WHO["why"], waits["node"]["id"])


def test_a_rubric_is_edited_pinned_and_asked_to_evolve(mine: Path) -> None:
    with shown(mine) as server:
        [now] = nodes(server, "in_force")
        text = server.get(f"{RUN}/revisions/{now['id']}").json()["yaml"]
        edited = text.replace("is missing, as a reader would see it", "is nowhere", 1)
        for body in (
            {"kind": "edit", "text": edited, "about": now["id"]},
            {"kind": "pin", "criterion": "style"},
            {"kind": "unpin", "criterion": "style"},
            {"kind": "evolve"},
        ):
            assert server.post(f"{RUN}/acts", {**body, **WHO}).status_code == 202, body
        first, *told = server.get(f"{RUN}/acts").json()["acts"]
        assert [act["kind"] for act in told] == ["edit", "pin", "unpin", "evolve"]
        assert {len(act["outcomes"]) for act in told} == {0}
        assert first["outcomes"][0]["outcome"].startswith("a meta step begins")
    with closing(Store(mine / STORE)) as store:
        assert next(act for act in store.acts() if act.rubric).rubric == Rubric.from_yaml(edited)


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"kind": "approve", "about": "ffff"}, 409, "act_refused", "0 revisions that start with 'ffff'"),
        ({"kind": "approve"}, 422, "invalid", "approve needs about"),
        ({"kind": "pin", "criterion": "style", "about": "ffff"}, 422, "invalid", "pin takes no about"),
        ({"kind": "pin", "criterion": "no such"}, 409, "act_refused", "has no criterion 'no such'"),
        ({"kind": "pin", "criterion": "style", "cluster": "law"}, 409, "act_refused", "knows no clusters"),
        ({"kind": "edit"}, 422, "invalid", "either rubric or text"),
        ({"kind": "edit", "text": "criteria: []"}, 422, "rubric", "criteria"),
        ({"kind": "edit", "text": "<rubric>\n<item>\nnothing\n</item>\n</rubric>"}, 422, "rubric", "line"),
        ({"kind": "edit", "text": "!!python/object/apply:os.system ['true']"}, 422, "rubric", "neither YAML nor JSON"),
        ({"kind": "evolve", "who": ""}, 422, "invalid", "who"),
        ({"kind": "evolve", "why": ""}, 422, "invalid", "why"),
        ({"kind": "delete"}, 422, "invalid", "kind"),
        ({"kind": "evolve", "colour": 1}, 422, "invalid", "colour"),
    ],
)
def test_an_act_that_cannot_be_done_is_refused(
    up: Shown, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    before = up.get(f"{RUN}/acts").json()
    assert said in check_error(up.post(f"{RUN}/acts", {**WHO, **body}), status, code)
    assert up.get(f"{RUN}/acts").json() == before


def test_a_pair_is_labelled_and_its_turned_twin_refused(mine: Path) -> None:
    pair = {"prompt": "Bikes?", "better": "Yes: \x1b[31m<script>alert(1)</script>", "worse": "No\u202e"}
    with shown(mine) as server:
        path = f"{RUN}/anchors"
        assert server.post(path, {"pairs": [pair, pair], **WHO}).json() == {"pinned": 1, "known": 1}
        [newest, *_] = server.get(f"{path}?source=anchor").json()["anchors"]
        assert {name: newest[name] for name in pair} == pair
        assert (newest["who"], newest["why"]) == ("ada", WHO["why"])
        turned = {**pair, "better": pair["worse"], "worse": pair["better"]}
        assert "by ada" in check_error(server.post(path, {"pairs": [turned], **WHO}), 422, "unreadable")
        same = {**pair, "worse": pair["better"]}
        assert "pair 0" in check_error(server.post(path, {"pairs": [same], **WHO}), 422, "unreadable")
        numbers, cursor = [], ""
        while cursor is not None:
            page = server.get(f"{path}?limit=8{cursor and '&cursor=' + cursor}").json()
            numbers += [a["number"] for a in page["anchors"]]
            cursor = page["next"]
        assert numbers == list(range(21, 0, -1))
        assert page["n_by_source"] == {"anchor": 21}


def test_a_server_that_only_shows_takes_no_act(mine: Path) -> None:
    with shown(mine, can_act=False) as server:
        assert server.get("/v1/runs").json()["can_act"] is False
        for path, body in (("acts", examples.REQUESTS["act"]), ("anchors", examples.REQUESTS["pin"])):
            check_error(server.post(f"{RUN}/{path}", body), 403, "read_only")


# --- who may ask


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_a_page_of_another_site_may_neither_read_nor_act(up: Shown, headers: dict[str, str]) -> None:
    check_error(up.get("/v1/runs", headers=headers), 403, "wrong_origin")
    check_error(up.post(f"{RUN}/acts", {"kind": "evolve", **WHO}, headers=headers), 403, "wrong_origin")


def test_a_form_of_another_site_cannot_be_an_act(up: Shown) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        got = httpx2.post(f"{up.url}{RUN}/acts", content=b'{"kind": "evolve"}', headers={"Content-Type": kind})
        check_error(got, 415, "not_json")


def test_a_name_that_was_made_to_lead_here_is_refused(up: Shown) -> None:
    check_error(up.get("/v1/runs", headers={"Host": "evil.example"}), 421, "wrong_host")
    check_error(up.get("/", headers={"Host": "evil.example"}), 421, "wrong_host")


def test_a_token_keeps_data_and_acts_but_not_the_pages(folder: Path) -> None:
    with shown(folder, pages=PAGES, token=TOKEN) as server:
        check_error(server.get("/v1/runs"), 401, "no_token")
        check_error(server.get(f"{RUN}/events"), 401, "no_token")
        check_error(server.post(f"{RUN}/acts", {"kind": "evolve", **WHO}), 401, "no_token")
        check_error(server.get("/v1/runs", headers={"Authorization": "Bearer wrong"}), 401, "wrong_token")
        check_error(server.get("/openapi.json"), 401, "no_token")
        assert server.get("/v1/runs", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert [server.get(path).status_code for path in PAGES] == [200, 200]


# --- pages


def test_pages_come_whole_once_and_then_by_their_tag(up: Shown) -> None:
    first = up.get("/app.js")
    assert (first.content, first.headers["content-type"]) == (b"1;", "text/javascript; charset=utf-8")
    for name, value in HEADERS.items():
        assert first.headers[name.lower()] == value
    assert "script-src 'self'" in first.headers["content-security-policy"]
    assert "unsafe" not in first.headers["content-security-policy"]
    assert first.headers["x-content-type-options"] == "nosniff"
    again = up.get("/app.js", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert up.get("/v1/runs").headers["cache-control"] == "no-store"


def test_a_link_on_another_site_may_lead_to_a_page(up: Shown) -> None:
    clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert up.get("/", headers=clicked).status_code == 200
    loaded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    check_error(up.get("/app.js", headers=loaded), 403, "wrong_origin")


def test_where_no_pages_are_built_the_answer_says_what_to_do(folder: Path) -> None:
    with shown(folder, pages={}) as server:
        assert "make ui" in check_error(server.get("/"), 503, "no_pages")
        assert server.get("/v1/runs").status_code == 200


# --- events


def listen(url: str, n: int, **more: Any) -> list[dict[str, str]]:
    """The first events of a stream."""
    found: list[dict[str, str]] = []
    one: dict[str, str] = {}
    with httpx2.stream("GET", url, timeout=10, **more) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if line and name in ("id", "event", "data"):
                one[name] = value
            elif not line and one:
                found.append(one)
                one = {}
            if len(found) == n:
                return found
    return found


def test_rows_come_as_events_and_a_listener_goes_on(mine: Path) -> None:
    with shown(mine) as server:
        first = listen(f"{server.url}{RUN}/events", 5)
        assert [e["event"] for e in first[:2]] == ["train", "trainer"]
        assert json.loads(first[0]["data"])["step"] == 0
        later = listen(f"{server.url}{RUN}/events", 1, headers={"Last-Event-ID": first[2]["id"]})
        assert later == first[3:4]
        rows = (mine / METRICS).read_text().splitlines(keepends=True)
        draft = mine / "draft"
        draft.write_text("".join(rows[:2]))
        draft.replace(mine / METRICS)
        reset, again = listen(f"{server.url}{RUN}/events", 2, headers={"Last-Event-ID": first[4]["id"]})
        assert (reset["event"], json.loads(reset["data"])["generation"]) == ("reset", again["id"].split(":")[0])
        assert again["data"] == first[0]["data"]


# --- beside a run that goes on


def test_a_run_is_looked_at_while_it_writes(tmp_path: Path) -> None:
    """The writer is never kept waiting or refused, and what is seen is whole steps."""
    folder = tmp_path / "essay"
    folder.mkdir()
    with closing(Store(folder / STORE)) as store, shown(folder) as server:
        begun, done = threading.Event(), threading.Event()
        failed: list[BaseException] = []

        def write() -> None:
            try:
                attempt = begin(store)
                for step in range(60):
                    store.append_rollouts(attempt, [record(step, i) for i in range(8)])
                    begun.set()
            except BaseException as e:
                failed.append(e)
            finally:
                begun.set()
                done.set()

        assert server.get(f"{RUN}/rollouts").json()["rollouts"] == []
        assert server.get(f"{RUN}/criteria").json()["criteria"] == []
        writer = threading.Thread(target=write)
        writer.start()
        begun.wait(30)
        seen = []
        while not done.is_set() or len(seen) < 3:
            newest = server.get(f"{RUN}/rollouts?limit=1").json()["rollouts"]
            seen.append(newest[0]["step"])
            assert newest[0]["position"] == 7
        writer.join()
        assert failed == []
        assert seen == sorted(seen)
        assert server.get(f"{RUN}/lineage").json()["nodes"][0]["id"] == FIRST.id


def test_looking_writes_nothing(mine: Path) -> None:
    before = (mine / STORE).read_bytes()
    with shown(mine) as server:
        for path in asked(server).values():
            assert server.get(path).status_code == 200
    assert (mine / STORE).read_bytes() == before


def test_a_run_before_its_first_step_is_shown_empty(tmp_path: Path) -> None:
    (tmp_path / "essay").mkdir()
    Store(tmp_path / "essay" / STORE).close()
    with shown(tmp_path / "essay") as server:
        [entry] = server.get("/v1/runs").json()["runs"]
        assert (entry["step"], entry["reward"], entry["problem"]) == (0, None, "")
        for path in ("", "/metrics", "/lineage", "/criteria", "/rollouts", "/meta-steps", "/acts", "/anchors"):
            assert server.get(RUN + path).status_code == 200, path
        refused = server.post(f"{RUN}/acts", {"kind": "pin", "criterion": "style", **WHO})
        assert "has no revision yet" in check_error(refused, 409, "act_refused")


def test_a_run_that_breaks_is_told_in_the_list_beside_the_others(mine: Path, folder: Path) -> None:
    with shown(mine, folder) as server:
        (mine / METRICS).write_text("no json\n")
        broken, whole = server.get("/v1/runs").json()["runs"]
        assert (broken["run"], whole["run"], whole["problem"]) == ("essay", "essay-2", "")
        assert "metrics.jsonl" in broken["problem"]
        check_error(server.get(f"{RUN}/metrics"), 503, "run_folder")


# --- several runs, clusters, servers


def test_a_store_on_a_server_with_clusters_is_shown_and_decided_on(postgres: Any) -> None:
    url = postgres.new_schema()
    with closing(Store(url)) as store:
        make_served(store, 1100, clusters=("essays", "letters"), n_meta_steps=6)
    with shown(url) as server:
        [entry] = server.get("/v1/runs").json()["runs"]
        run = f"/v1/runs/{entry['run']}"
        assert (entry["step"], entry["n_waiting"], entry["steps"]) == (17, 2, None)
        assert "***" in entry["place"]
        assert server.get(run).json()["clusters"] == ["essays", "letters"]
        one, two = (server.get(f"{run}/lineage?cluster={c}").json()["nodes"] for c in ("essays", "letters"))
        assert [n["status"] for n in one] == [n["status"] for n in two]
        waits = server.get(f"{run}/acts").json()["waiting"]
        body = {"kind": "approve", "about": waits[0]["node"]["id"], "cluster": "letters", **WHO}
        assert server.post(f"{run}/acts", body).status_code == 202
        assert [w["cluster"] for w in server.get(f"{run}/acts").json()["waiting"]] == ["essays"]
        found = server.get(f"{run}/rollouts?cluster=letters&limit=9&text=WRITE").json()["rollouts"]
        assert {r["cluster"] for r in found} == {"letters"}
        assert {s["kind"] for s in server.get(f"{run}/metrics").json()["series"]} == {"train"}


def test_a_reward_server_shows_its_own_run(tmp_path: Path) -> None:
    with served(tmp_path / "my run") as up:
        assert up.get("/v1/runs/my-run/rollouts").json()["rollouts"] == []
        up.post("/v1/score", {"rollouts": [{"prompt": "p", "completion": "c", "step": 0}]})
        [entry] = up.get("/v1/runs").json()["runs"]
        assert (entry["run"], entry["n_revisions"]) == ("my-run", 1)
        [rollout] = up.get("/v1/runs/my-run/rollouts").json()["rollouts"]
        assert rollout["reward"] == 1.0
        body = {"kind": "pin", "criterion": "depth", **WHO}
        assert up.post("/v1/runs/my-run/acts", body).status_code == 202
        up.post("/v1/step", {"step": 1})
        [act] = up.get("/v1/runs/my-run/acts").json()["acts"]
        assert "is in force" in act["outcomes"][0]["outcome"]
        status = up.get("/").status_code
        assert status in (200, 503)


# --- stores of older versions


def test_an_older_store_that_nobody_writes_is_brought_up_to_date(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    written_under(old / STORE, 5)
    (old / METRICS).touch()
    with shown(old) as server:
        assert len(server.get("/v1/runs/old/rollouts").json()["rollouts"]) == 2


@pytest.mark.parametrize(("is_training", "said"), [(True, "is being written"), (False, "metapo rubric log")])
def test_an_older_store_that_may_be_written_is_left_alone(tmp_path: Path, is_training: bool, said: str) -> None:
    old = tmp_path / "old"
    old.mkdir()
    written_under(old / STORE, 5)
    before = (old / STORE).read_bytes()
    lock = None
    if is_training:
        (old / METRICS).touch()
        lock = hold(old / LOCK, "the run")
    with pytest.raises(Exception, match=f"schema 5.*{said}"):
        open_runs([old])
    assert (old / STORE).read_bytes() == before
    if lock:
        lock.release()


def test_flags_of_a_run_that_kept_none_are_not_offered(mine: Path) -> None:
    with closing(Store(mine / STORE)) as store, raw(store) as db:
        db.change("DELETE FROM rollout_flag")
    with shown(mine) as server:
        assert server.get(RUN).json()["flags"] == []
