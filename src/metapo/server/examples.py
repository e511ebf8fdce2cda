"""An example of each request and answer, for the OpenAPI description. Tests send them."""

from typing import Any

RUBRIC: dict[str, Any] = {
    "criteria": [
        {
            "id": "evidence",
            "name": "Evidence",
            "instruction": "",
            "levels": [
                {"points": 0, "description": "gives no reason", "example": ""},
                {"points": 5, "description": "gives several reasons", "example": ""},
            ],
            "weight": 1.0,
            "polarity": "positive",
            "pinned": False,
            "evidence": False,
        }
    ]
}
REVISION = {
    "rubric": RUBRIC,
    "parents": [],
    "reason": "the settings' rubric",
    "proposer": "settings",
    "step": 0,
}
ID = "2e7ad30c7c"
SCALE = {"factor": 1.0, "shift": 0.0}
PROMPT = "Should cities build bike lanes?"
VERDICT = {"criterion": "evidence", "points": 5, "value": 5.0, "rationale": "", "quote": "", "uncertainty": None}
SCORED = {
    "reward": 1.0,
    "normalized": 1.0,
    "raw": 5.0,
    "step": 0,
    "split": "train",
    "revision": ID,
    "key": "run-7/0/0",
    "verdicts": [VERDICT],
    "unscored": [],
    "screened": "",
}
EVENTS = 'id: 12\nevent: train\ndata: {"kind": "train", "step": 3, "reward": 0.62}\n\n'
METRICS = "# TYPE metapo_step gauge\nmetapo_step 3.0\n"

REQUESTS: dict[str, Any] = {
    "score": {"rollouts": [{"prompt": PROMPT, "completion": "Yes: they save lives.", "step": 0, "key": "run-7/0/0"}]},
    "get_reward": {"query": [f"{PROMPT}Yes: they save lives."], "prompts": [PROMPT], "labels": [""]},
    "slime": {"prompt": PROMPT, "response": "Yes: they save lives.", "label": None},
    "step": {"step": 3, "resumed": False},
    "evolve": {"who": "ada", "why": "completions got longer without getting better"},
    "feedback": {
        "who": "ada",
        "pairs": [{"prompt": PROMPT, "better": "Yes: they save lives.", "worse": "Yes.", "why": "gives a reason"}],
    },
}
ANSWERS: dict[str, Any] = {
    "score": {"rollouts": [SCORED]},
    "get_reward": {"rewards": [1.0], "scores": [1.0], "extra_logs": {"unscored": [0.0], "metapo_step": [0.0]}},
    "slime": 1.0,
    "rubric": {"cluster": "", "step": 3, "id": ID, "revision": REVISION, "scale": SCALE},
    "lineage": {
        "cluster": "",
        "adoptions": [{"step": 0, "id": ID, "revision": REVISION, "scale": SCALE}],
        "meta_steps": [{"step": 10, "adopt_step": 11, "decision": "rejected", "parent": ID, "child": None}],
    },
    "revision": {"id": ID, "revision": REVISION},
    "step": {"step": 3},
    "step_figures": {"step": 3, "rollouts": 64, "unscored": 1, "max_unscored": 0.1, "stopped": None},
    "finish": {"step": 3},
    "evolve": {"act": 1},
    "feedback": {"pinned": 1},
    "status": {
        "version": "0.1.0",
        "step": 3,
        "stopped": None,
        "rollouts": 192,
        "unscored": 1,
        "in_flight": 12,
        "uptime_s": 640.5,
    },
    "healthz": {"status": "alive"},
    "readyz": {"status": "ready"},
}


def of(name: str) -> dict[str, Any]:
    """What a route adds to its OpenAPI description."""
    status = "202" if name == "evolve" else "200"
    added: dict[str, Any] = {"responses": {status: {"content": {"application/json": {"example": ANSWERS[name]}}}}}
    if name in REQUESTS:
        added["requestBody"] = {"content": {"application/json": {"example": REQUESTS[name]}}}
    return added
