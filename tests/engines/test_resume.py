"""Killed at random moments and resumed, a run ends with the same lineage, rollouts and figures as one left alone."""

import json
import random
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any

from metapo.meta.conversation import Stage
from metapo.run import METRICS
from metapo.store import ExchangeRecord, MetaStepRecord, Store
from tests.engines.parts import finish, metapo, small_world

KILLS = 3


def n_rows(folder: Path) -> int:
    path = folder / METRICS
    return path.read_text().count('"kind": "train"') if path.exists() else 0


def _meta_models(done: MetaStepRecord) -> list[ExchangeRecord]:
    """What was said with the meta model; the judge's reasons may have been known."""
    return [e for e in done.exchanges if e.stage != Stage.EXPLAIN]


def story(folder: Path) -> list[Any]:
    """All that must not depend on whether a run was interrupted; what judging took does, as verdicts that were known
    before the kill aren't asked for again."""
    store = Store(folder / "store.db")
    store.verify()
    meta = [(m.step, m.decision, m.reason, m.child, m.samples, _meta_models(m)) for m in store.meta_steps()]
    told = [store.lineage(), [replace(r, n_reused=0) for r in store.rollouts()], meta]
    store.close()
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    batches = [row for row in rows if row["kind"] in ("train", "eval")]
    told.append([{name: x for name, x in row.items() if not name.startswith("judge/")} for row in batches])
    told.append([(r["step"], r["loss"], r["kl"]) for r in rows if r["kind"] == "trainer"])
    return told


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    # 11 steps of 8 prompts go through the 48 prompts almost twice: checkpoints lie in the second round too
    settings.write_text(small_world(steps=11, batch_size=64, eval_every=4).to_yaml())
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(metapo("train", settings, "--out", whole))

    rng = random.Random(time.time_ns())
    moments = sorted(rng.uniform(0.2, 10.8) for _ in range(KILLS))
    process = metapo("train", settings, "--out", broken)
    for moment in moments:
        while process.poll() is None and n_rows(broken) < moment:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
        process = metapo("train", "--resume", broken)
    finish(process)
    assert story(broken) == story(whole), f"killed at {moments}"
    told = (broken / METRICS).read_bytes()
    finish(metapo("train", "--resume", broken))
    assert (broken / METRICS).read_bytes() == told, "a finished run is left as it is"


def under_way(folder: Path) -> bool:
    """Does the store hold a meta step that was begun and is not done?"""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'store.db'}?mode=ro", uri=True)) as db:
            return bool(db.execute("SELECT step FROM meta_begun EXCEPT SELECT step FROM meta_step").fetchall())
    except sqlite3.OperationalError:  # not there yet
        return False


def kill_while_under_way(process: Popen[str], folder: Path) -> None:
    """Kill the process in a meta step. It is stopped for a second look: seen late, a meta step may be done by then, and
    the next one is waited for."""
    while process.poll() is None:
        if under_way(folder):
            process.send_signal(signal.SIGSTOP)
            if under_way(folder):
                process.kill()
            process.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    process.communicate()


def test_killed_while_a_meta_step_is_under_way_a_gated_run_has_the_same_lineage(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    world = small_world(arm="metapo", steps=9, save_every=1)
    world = world.model_copy(update={"meta": world.meta.model_copy(update={"staleness": 2, "bridge": "calibrate"})})
    settings.write_text(world.to_yaml())
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(metapo("train", settings, "--out", whole))

    process = metapo("train", settings, "--out", broken)
    kill_while_under_way(process, broken)
    assert process.returncode == -signal.SIGKILL
    assert under_way(broken)
    finish(metapo("train", "--resume", broken))
    assert story(broken) == story(whole)
