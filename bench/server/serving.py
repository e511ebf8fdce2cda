"""One reward server whose judge sits in its own process and answers after a set time.

`python -m bench.server.serving OUT STORE SECONDS`, where STORE is a database's URL, or "" for a file in OUT.
"""

import asyncio
import re
import sys
from pathlib import Path

from bench.judge.material import TASK, rubric

from metapo.judge.endpoint import EndpointSettings
from metapo.judge.judge import JudgeSettings
from metapo.judge.transport import ChatReply, ChatRequest, JsonForm
from metapo.scorer import Connections
from metapo.server.options import ServeOptions
from metapo.server.running import Served, listen, serve
from metapo.settings import MetaSchedule, Settings

N_CRITERIA = 5


class Timed:
    """Gives every criterion the best level, after so many seconds; with 0, at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._replies: dict[tuple[str, ...], str] = {}

    async def complete(self, request: ChatRequest) -> ChatReply:
        assert isinstance(request.form, JsonForm)
        if self._seconds:
            await asyncio.sleep(self._seconds)
        keys = tuple(request.form.spec["required"])
        if keys not in self._replies:
            points = {k: request.form.spec["properties"][k] for k in keys}
            chosen = ", ".join(
                f'"{k}": {max(map(int, re.findall(r"-?[0-9]+", str(p["enum"]))))}' for k, p in points.items()
            )
            self._replies[keys] = f"{{{chosen}}}"
        return ChatReply(text=self._replies[keys], model="timed", prompt_tokens=1000, completion_tokens=20)

    async def identify(self) -> str:
        return "timed"

    async def aclose(self) -> None:
        pass


async def main(out: Path, store: str, seconds: float) -> None:
    endpoint = EndpointSettings(url="http://127.0.0.1:9/v1", model="timed", max_in_flight=1024)
    judging = JudgeSettings(mode="joint", rationales="never", warm_up=False, cache=False)
    settings = Settings(
        rubric=rubric(N_CRITERIA),
        judge=endpoint,
        judging=judging,
        task_description=TASK,
        meta=MetaSchedule(every=0),
    )
    judge = Timed(seconds)
    options = ServeOptions(port=0)
    served = Served(settings, out, store or None)
    taken = listen(options.host, options.port)
    await serve(served, options, taken, Connections(judge, judge), lambda up: print(up.url, flush=True))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
