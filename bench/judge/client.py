"""What judging costs the process that asks: CPU time and peak memory, with a server that answers at once.

10,000 different completions (real essays, numbered) under five criteria, handed over together, against the loopback
server of `instant.py`. Each client has a process of its own, and so has the server, whose work doesn't count. Beside
the library stands `naive.py`, with bare httpx2 and with the `openai` client out of vLLM's environment (left out where
that isn't there): one request per completion, like the library, and two per criterion, like published code, for a tenth
of the completions. The naive one retries little or nothing, neutralizes nothing and checks nothing that it gets.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.judge.material import TASK, rollouts, rubric
from bench.judge.naive import peak_mb
from tests.real.servers import VLLM, ServerProcess, free_port

from metapo.engines.connect import connect
from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import Judge, JudgeSettings
from metapo.judge.transport import ChatReply, ChatRequest, JsonForm
from metapo.rollout import Rollout
from metapo.rubric import Revision
from metapo.rubric_text import render_criterion, render_rubric
from metapo.scorer import Scorer
from metapo.settings import Settings

N_CRITERIA = 5
OURS = JudgeSettings(mode="joint", rationales="never")


async def judge_all(url: str, material: dict[str, Any], in_flight: int) -> int:
    """How many verdicts the library had for the essays."""
    endpoint = EndpointSettings(url=url, model="instant", max_in_flight=in_flight, structured="json_schema")
    settings = Settings(rubric=rubric(N_CRITERIA), judge=endpoint, judging=OURS, task_description=TASK)
    first = Revision(rubric=settings.rubric, reason="measured", proposer="bench", step=0)
    connections = connect(settings)
    try:
        scored = await Scorer(settings, connections, first).score([Rollout(**essay) for essay in material["essays"]])
    finally:
        await connections.aclose()
    return sum(len(s.assessment.outcomes) - len(s.assessment.unscored) for s in scored)


def client(url: str, path: Path, in_flight: int) -> dict[str, float]:
    """What the library cost in this process."""
    material = json.loads(path.read_text())
    before_mb, cpu_s, began = peak_mb(), time.process_time(), time.monotonic()
    n_verdicts = asyncio.run(judge_all(url, material, in_flight))
    costs = {"cpu_s": time.process_time() - cpu_s, "seconds": time.monotonic() - began}
    return costs | {"n_verdicts": n_verdicts, "before_mb": before_mb, "peak_mb": peak_mb()}


async def make_material(n: int) -> dict[str, Any]:
    """Essays, criteria, and the schema of the library's joint request."""
    essays, under = rollouts(), rubric(N_CRITERIA)
    numbered = [(essays[i % len(essays)], i) for i in range(n)]
    listener = _Listener()
    await Judge(listener, task=TASK, settings=OURS).assess(under, essays[0])
    return {
        "essays": [{"prompt": e.prompt, "completion": f"{e.completion}\n\n({i})"} for e, i in numbered],
        "criteria": [render_criterion(criterion) for criterion in under.criteria],
        "rubric": render_rubric(under),
        "schema": listener.schema,
    }


def measure(n: int, in_flight: int) -> list[dict[str, Any]]:
    """One row per client."""
    material = asyncio.run(make_material(n))
    points = rubric(N_CRITERIA).criteria[0].levels[0].points
    reply = json.dumps(dict.fromkeys(material["schema"]["required"], points))
    port = free_port()
    server = ServerProcess([sys.executable, "-m", "bench.judge.instant", port, reply], port, env={}, ready_s=30)
    with tempfile.TemporaryDirectory() as folder, server:
        whole, tenth = Path(folder, "whole.json"), Path(folder, "tenth.json")
        whole.write_text(json.dumps(material))
        tenth.write_text(json.dumps(material | {"essays": material["essays"][: n // 10]}))
        naive = Path(__file__).with_name("naive.py")
        pythons = {"httpx2": Path(sys.executable), "openai": VLLM / "bin" / "python"}
        commands: dict[str, list[Any]] = {
            "metapo, joint": [sys.executable, "-m", "bench.judge.client", "--child", server.url, whole, in_flight]
        }
        for name, python in pythons.items():
            if python.exists():
                args = [server.url, whole, in_flight]
                commands[f"{name}, joint"] = [python, naive, name, "joint", *args]
                args = [server.url, tenth, in_flight]
                commands[f"{name}, two calls per criterion"] = [python, naive, name, "per-criterion", *args]
        return [{"client": name} | _run(command) for name, command in commands.items()]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| client | verdicts | CPU, ms per rollout | us per verdict | wall, s | MB before | MB at most |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        each_us = 1e6 * row["cpu_s"] / row["n_verdicts"]
        lines.append(
            f"| {row['client']} | {row['n_verdicts']} | {each_us * N_CRITERIA / 1e3:.2f} | {each_us:.0f} | "
            f"{row['seconds']:.1f} | "
            f"{row['before_mb']:.0f} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines)


class _Listener:
    """A transport that keeps the schema of what is asked."""

    schema: dict[str, Any]

    async def complete(self, request: ChatRequest) -> ChatReply:
        assert isinstance(request.form, JsonForm)
        self.schema = request.form.spec
        return ChatReply(text="{}")

    async def identify(self) -> str:
        return "listener"

    async def aclose(self) -> None:
        pass


def _run(command: Sequence[Any]) -> dict[str, Any]:
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"{command[0]} failed:\n{run.stderr[-3000:]}")
    costs: dict[str, Any] = json.loads(run.stdout)
    return costs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rollouts", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--out", type=Path, help="also write the results as JSON")
    parser.add_argument("--child", nargs=3, metavar=("URL", "MATERIAL", "IN_FLIGHT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        url, path, in_flight = options.child
        print(json.dumps(client(url, Path(path), int(in_flight))))
        return 0
    rows = measure(options.rollouts, options.in_flight)
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps({"in_flight": options.in_flight, "results": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
