"""What both measurements judge: real essays and a rubric of ten criteria."""

import json
from pathlib import Path

from metapo.rollout import Rollout
from metapo.rubric import Rubric

ROOT = Path(__file__).parents[2]
ESSAYS = ROOT.parent / "shared" / "data" / "essays"
TASK = "Write a persuasive essay that answers the prompt."
WORDS = range(320, 401)  # about 350 each


def rubric(n_criteria: int) -> Rubric:
    """The first criteria of rubric.yaml."""
    whole = Rubric.load(Path(__file__).with_name("rubric.yaml"))
    return Rubric(criteria=whole.criteria[:n_criteria])


def rollouts() -> list[Rollout]:
    """All essays of the usual length, no text twice. Ends the process where there are none."""
    rows = [json.loads(line) for path in sorted(ESSAYS.glob("matches_*.jsonl")) for line in path.open()]
    texts = {row[side]: row["prompt"] for row in rows for side in ("response_a", "response_b")}
    found = [Rollout(prompt=prompt, completion=text) for text, prompt in texts.items() if len(text.split()) in WORDS]
    if not found:
        raise SystemExit(f"the essays (matches_*.jsonl) are not at hand: {ESSAYS.name} is missing beside the project")
    return found
