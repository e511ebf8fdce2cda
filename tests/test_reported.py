"""Rows of metrics as figures for charts elsewhere."""

from typing import Any

from metapo.reported import at_boundary, reported

TRAIN: dict[str, Any] = {
    "kind": "train",
    "step": 3,
    "revision": "ab",
    "reward": 0.5,
    "hacking/gap": 0.1,
    "flag/empty": 1,
}
META: dict[str, Any] = {"kind": "meta", "step": 4, "revision": "cd", "decision": "adopted", "began": 3, "seconds": 2.0}


def test_training_has_its_own_names_and_other_kinds_stand_before_theirs() -> None:
    assert reported(TRAIN) == {"reward": 0.5, "hacking/gap": 0.1, "flag/empty": 1.0}
    assert reported({"kind": "eval", "step": 3, "reward": 0.25}) == {"eval/reward": 0.25}
    assert reported({"kind": "trainer", "step": 3, "kl": 0.1}) == {"trainer/kl": 0.1}
    assert reported({"kind": "bridge", "step": 4, "bridge/shift": -0.1}) == {"bridge/shift": -0.1}


def test_a_decision_counts_under_its_name_and_words_are_no_figures() -> None:
    assert reported(META) == {"meta/adopted": 1.0, "meta/seconds": 2.0}
    assert reported({"kind": "act", "step": 4, "act": "pin", "who": "ann"}) == {"act/pin": 1.0}


def test_a_boundary_tells_the_last_step_and_what_was_decided() -> None:
    earlier = {**TRAIN, "step": 2, "reward": 0.9}
    rows = [earlier, TRAIN, META, {**META, "cluster": "b", "decision": "rejected"}]
    assert at_boundary(rows, 4) == {
        "last_step/reward": 0.5,
        "last_step/hacking/gap": 0.1,
        "last_step/flag/empty": 1.0,
        "meta/adopted": 1.0,
        "meta/rejected": 1.0,
        "meta/seconds": 4.0,
    }
    assert at_boundary(rows, 9) == {}
    assert at_boundary([], 1) == {}
