"""What a run did, read from its folder with pandas, while it trains or afterwards: python read_a_run.py runs/essay"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd

run = Path(sys.argv[1])
metrics = pd.read_json(run / "metrics.jsonl", lines=True)
steps = metrics[metrics["kind"] == "train"].set_index("step")
print(steps[["normalized", "unscored", "flagged", "words"]].describe().round(3), "\n")

with closing(sqlite3.connect(f"file:{run / 'store.db'}?mode=ro", uri=True)) as store:
    ask = {
        "the lineage": "SELECT from_step, substr(id, 1, 10) AS revision, proposer FROM lineage ORDER BY from_step",
        "why there was no verdict": "SELECT * FROM unscored_by_reason",
        "what the gate refused": "SELECT gate_check, count(*) AS n FROM gate_decisions WHERE NOT passed GROUP BY 1",
        "what it cost": "SELECT * FROM spending",
    }
    for question, sql in ask.items():
        print(f"{question}:", pd.read_sql(sql, store).to_string(index=False), sep="\n", end="\n\n")
    rollouts = pd.read_sql("SELECT step, value, completion FROM live_rollout WHERE split = 'train'", store)

last = rollouts[rollouts["step"] == rollouts["step"].max()].sort_values("value")
print("the best of the last step:", last["completion"].iloc[-1], sep="\n")
