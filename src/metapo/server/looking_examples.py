"""An example of each request and answer of the routes by which runs are looked at. Tests hold them to their shapes."""

from typing import Any

from metapo.server.examples import ID, PROMPT, REVISION

CHILD = "9b1c44d2e0"
ENTRY: dict[str, Any] = {
    "run": "essay",
    "place": "runs/essay",
    "standing": "training",
    "task": "essay",
    "step": 40,
    "steps": 200,
    "reward": 0.62,
    "n_revisions": 2,
    "n_waiting": 1,
    "written_at": "2026-01-01T12:00:00+00:00",
    "problem": "",
}
FINDING = {"check": "fresh", "passed": True, "detail": "2 better, 0 worse", "parent": 0.5, "child": 0.75, "n_pairs": 8}
NODE: dict[str, Any] = {
    "id": CHILD,
    "parents": [ID],
    "status": "waiting",
    "reason": "merged from 16 refinements",
    "proposer": "meta model qwen",
    "step": 30,
    "in_force_from": None,
    "in_force_to": None,
    "scale": None,
    "meta_step": 30,
    "is_return": False,
    "why": "20 steps without a meta step",
    "verdict": "75.0% of 8 pairs in the right order, 50.0% before",
    "findings": [FINDING],
    "n_criteria": 2,
    "n_words": 60,
    "min_points": 0.0,
    "max_points": 10.0,
}
ROLLOUT: dict[str, Any] = {
    "id": "1-train-39-0",
    "prompt_id": "5f4dcc3b5aa765d6",
    "step": 39,
    "position": 0,
    "split": "train",
    "cluster": "",
    "revision": ID,
    "reward": 1.0,
    "normalized": 1.0,
    "raw": 5.0,
    "monitor": None,
    "screened": "",
    "flags": ["too_short"],
    "n_unscored": 0,
    "prompt_snippet": PROMPT,
    "snippet": "Yes: they save lives.",
}
META_STEP: dict[str, Any] = {
    "cluster": "",
    "step": 30,
    "adopt_step": 31,
    "why": "20 steps without a meta step",
    "decision": "waiting",
    "reason": "merged from 16 refinements",
    "parent": ID,
    "child": CHILD,
    "n_samples": 16,
    "n_exchanges": 33,
    "n_proposals": 1,
    "tokens": 81234,
    "cost_usd": 0.04,
    "seconds": 21.5,
}
EXCHANGE: dict[str, Any] = {
    "position": 0,
    "stage": "analyze",
    "sample": 0,
    "model": "qwen",
    "error": "",
    "snippet": "The completion states a view and gives one reason.",
    "prompt_chars": 4210,
    "reply_chars": 812,
    "prompt_tokens": 1020,
    "completion_tokens": 190,
    "cost_usd": None,
    "latency_s": 1.2,
}
VERDICT: dict[str, Any] = {
    "criterion": "evidence",
    "name": "Evidence",
    "weight": 1.0,
    "min_points": 0,
    "max_points": 5,
    "points": 5,
    "value": 5.0,
    "uncertainty": None,
    "label_mass": None,
    "level": "gives several reasons",
    "rationale": "It names saved lives.",
    "quote": "they save lives",
    "spans": [{"start": 5, "end": 20}],
    "missing": None,
    "detail": "",
}
CALL: dict[str, Any] = {
    "number": 0,
    "role": "judge",
    "model": "qwen",
    "endpoint": "http://localhost:8001/v1",
    "reply": '{"evidence": 5}',
    "error": "",
    "finish_reason": "stop",
    "prompt_tokens": 210,
    "completion_tokens": 7,
    "cached_tokens": None,
    "cost_usd": None,
    "latency_s": 0.4,
}
HISTORY: dict[str, Any] = {
    "id": "evidence",
    "name": "Evidence",
    "min_points": 0,
    "max_points": 5,
    "weight": 1.0,
    "pinned": False,
    "n": [64, 64],
    "mean": [2.5, 3.1],
    "variance": [1.2, 0.9],
    "passed": [0.25, 0.4],
    "correlation": [0.31, None],
    "unscored": [0.0, 0.0],
}
ANCHOR: dict[str, Any] = {
    "number": 1,
    "source": "anchor",
    "cluster": "",
    "step": 0,
    "prompt": PROMPT,
    "better": "Yes: they save lives.",
    "worse": "Yes.",
    "reference": None,
    "why": "gives a reason",
    "who": "ada",
    "added_at": "2026-01-01T12:00:00+00:00",
}
ACT: dict[str, Any] = {
    "id": 1,
    "kind": "pin",
    "who": "ada",
    "why": "it matters most",
    "done_at": "2026-01-01T12:00:00+00:00",
    "cluster": None,
    "about": None,
    "criterion": "evidence",
    "told": "pin evidence, by ada",
    "outcomes": [{"cluster": "", "step": 31, "outcome": "1f20aa93c1 is in force"}],
}
EVENTS = 'id: 4c1b02f09d3e:12\nevent: train\ndata: {"kind": "train", "step": 3, "reward": 0.62}\n\n'

REQUESTS: dict[str, Any] = {
    "act": {"kind": "pin", "who": "ada", "why": "it matters most", "criterion": "evidence"},
    "pin": {
        "who": "ada",
        "why": "a reason is better than none",
        "pairs": [{"prompt": PROMPT, "better": "Yes: they save lives.", "worse": "Yes."}],
    },
}
ANSWERS: dict[str, Any] = {
    "runs": {"version": "0.1.0", "runs": [ENTRY], "can_act": True, "who": "ada"},
    "run": {
        "entry": ENTRY,
        "settings": {"task": "essay", "engine": {"steps": 200}},
        "stopped": None,
        "attempts": [{"number": 1, "resumed_step": 0, "started_at": "2026-01-01T11:00:00+00:00"}],
        "answered_by": {"judge": "qwen at http://localhost:8001/v1"},
        "clusters": [""],
        "criteria": ["evidence"],
        "flags": ["too_short"],
        "n_rollouts": {"train": 2560, "eval": 128},
        "spent": [
            {
                "role": "judge",
                "model": "qwen",
                "n_calls": 2688,
                "n_failed": 3,
                "prompt_tokens": 564480,
                "completion_tokens": 18816,
                "cost_usd": 0.0,
                "latency_s": 1075.2,
            }
        ],
    },
    "metrics": {
        "generation": "4c1b02f09d3e",
        "newest": 80,
        "is_whole": True,
        "series": [
            {"kind": "train", "step": [0, 1], "columns": {"reward": [0.41, 0.44], "kl": [None, 0.001]}},
        ],
        "names": {"train": ["reward", "kl", "criterion/evidence"]},
        "marks": [
            {
                "step": 30,
                "kind": "waiting",
                "text": "75.0% of 8 pairs in the right order",
                "cluster": "",
                "revision": CHILD,
            }
        ],
    },
    "tree": {"cluster": "", "nodes": [NODE]},
    "revision_shown": {"id": ID, "revision": REVISION, "yaml": "criteria:\n- id: evidence\n"},
    "diff": {
        "from_id": ID,
        "to_id": CHILD,
        "criteria": [
            {
                "id": "evidence",
                "name": "Evidence",
                "change": "~",
                "fields": [
                    {
                        "field": "level",
                        "points": 5,
                        "change": "~",
                        "words": [
                            {"change": " ", "text": "gives "},
                            {"change": "-", "text": "several "},
                            {"change": "+", "text": "three "},
                            {"change": " ", "text": "reasons"},
                        ],
                    }
                ],
            }
        ],
    },
    "criteria": {"cluster": "", "split": "train", "n_steps": 2, "steps": [0, 1], "criteria": [HISTORY]},
    "rollouts": {"rollouts": [ROLLOUT], "next": None, "n_looked_at": 1},
    "rollout": {
        "entry": ROLLOUT,
        "prompt": PROMPT,
        "completion": "Yes: they save lives.",
        "reference": None,
        "verdicts": [VERDICT],
        "opinions": [],
        "calls": [CALL],
        "flags": [{"detector": "too_short", "detail": "4 words where 100 were asked for"}],
        "group": [],
        "read_by": [30],
        "n_reused": 0,
        "n_left_out": 0,
    },
    "prompt": {
        "prompt_id": ROLLOUT["prompt_id"],
        "prompt": PROMPT,
        "reference": None,
        "rollouts": [ROLLOUT],
        "next": None,
    },
    "pairs": {
        "left": ID,
        "right": CHILD,
        "pairs": [
            {
                "prompt_id": ROLLOUT["prompt_id"],
                "prompt_snippet": PROMPT,
                "left": [ROLLOUT],
                "right": [{**ROLLOUT, "id": "1-train-41-0", "step": 41, "revision": CHILD, "reward": 0.5}],
            }
        ],
        "bridge": {
            "step": 40,
            "n": 64,
            "mean_before": 0.62,
            "mean_after": 0.51,
            "spread_before": 0.2,
            "spread_after": 0.24,
        },
        "next": None,
    },
    "meta_steps": {"meta_steps": [META_STEP]},
    "meta_step": {
        "entry": META_STEP,
        "samples": [{"rollout": ROLLOUT, "why": "highest reward", "flags": ["too_short"]}],
        "exchanges": [EXCHANGE],
        "proposals": [
            {
                "number": 0,
                "revision": CHILD,
                "accepted": True,
                "reason": "75.0% of 8 pairs in the right order",
                "repairs": None,
                "findings": [FINDING],
            }
        ],
        "evidence": {"archive": 2, "earlier": 6},
    },
    "exchange": {"entry": EXCHANGE, "prompt": "Here is a rubric ...", "reply": EXCHANGE["snippet"]},
    "acts": {
        "acts": [ACT],
        "waiting": [
            {"cluster": "", "node": NODE, "if_approved": f"{CHILD} is in force", "can_be_approved": True},
        ],
    },
    "act": {"act": 1, "told": "pin evidence, by ada", "when": "The run takes it before its next step begins."},
    "anchors": {"anchors": [ANCHOR], "next": None, "n_by_source": {"anchor": 1}},
    "pin": {"pinned": 1, "known": 0},
}


def of(name: str) -> dict[str, Any]:
    """What a route adds to its OpenAPI description."""
    status = "202" if name == "act" else "200"
    added: dict[str, Any] = {"responses": {status: {"content": {"application/json": {"example": ANSWERS[name]}}}}}
    if name in REQUESTS:
        added["requestBody"] = {"content": {"application/json": {"example": REQUESTS[name]}}}
    return added
