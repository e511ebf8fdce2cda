"""A judge and a meta model behind the chat seam that follow the words of a rubric, for searches that can be checked.

A completion is good where it says "because". A criterion that names because, long or red gives its top level where the
completion says because, has eight words or more, or says red; the annotator's criterion, quality, is never wrong.
"""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from metapo.errors import ChatError
from metapo.judge.template import unfence
from metapo.judge.transport import ChatReply, ChatRequest, Transport
from metapo.meta.conversation import MetaModel
from metapo.meta.settings import MetaSettings
from metapo.offline.lineage import Lineage
from metapo.rubric import Criterion, Level, Revision, Rubric
from metapo.rubric_text import render_criterion
from metapo.scorer import Connections, Scorer
from metapo.settings import MonitorSettings, Settings
from metapo.store import KnownAnswers
from tests.servers import keys_by_criterion, offered

RULES: dict[str, Callable[[str], bool]] = {
    "because": lambda text: "because" in text,
    "long": lambda text: len(text.split()) >= 8,
    "red": lambda text: "red" in text.split(),
    "quality": lambda text: "because" in text,
}


def rule(word: str) -> Criterion:
    """A criterion by one rule."""
    levels = (Level(points=0, description=f"not {word}"), Level(points=2, description=f"it is {word}"))
    return Criterion(id=word, name=word.title(), levels=levels)


LONG, BECAUSE, RED = (Rubric(criteria=(rule(word),)) for word in ("long", "because", "red"))


def judges(prompt: str) -> str:
    """Verdicts as JSON, with reasons where they are asked for."""
    text = unfence("completion", prompt) or ""
    points, keys = offered(prompt), keys_by_criterion(prompt)
    found = {keys[name]: max(of) if RULES[name](text) else min(of) for name, of in points.items()}
    if '"rationale"' in prompt:
        return json.dumps({key: {"rationale": f"rule {key}", "points": given} for key, given in found.items()})
    return json.dumps(found)


def writes(*rubrics: Rubric) -> Callable[[ChatRequest], str]:
    """A meta model that rewrites the first rubric into the second, and so on, and the last one into itself, unless it
    stood before. Cases that are to score high it writes long and poor, others short and good."""
    following = {rubrics[-1].criteria[0].id: rubrics[-1], **{a.criteria[0].id: b for a, b in pairwise(rubrics)}}

    def reply(request: ChatRequest) -> str:
        stage = re.search(r"^Stage: (.*)$", request.last, re.MULTILINE)
        assert stage is not None, request.last
        if stage[1] == "boundary case":
            mark = len(re.findall("known case", request.last))
            poor = "scores high" in request.last
            return f"Case {mark} {'goes on and on and on and on and on' if poor else 'because'}."
        if stage[1] == "diagnosis":
            return "The judge looks at the wrong thing."
        if stage[1].endswith("number of criteria"):
            return "1"
        [current] = offered(request.messages[0].content.split("\n\nThe fenced texts")[0])
        return render_criterion(following[current].criteria[0])

    return reply


class Scripted:
    """A transport whose replies are a function of the request; what it raises, the request fails with. `asked` keeps
    the requests."""

    def __init__(self, reply: Callable[[ChatRequest], str], name: str = "scripted") -> None:
        self._reply = reply
        self._name = name
        self.asked: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request)
        text = self._reply(request)
        return ChatReply(text=text, model=self._name, prompt_tokens=10, completion_tokens=1, cost_usd=0.001)

    async def identify(self) -> str:
        return self._name

    async def aclose(self) -> None:
        pass

    @property
    def seen(self) -> str:
        """All that was ever shown to it."""
        return "\n".join(message.content for request in self.asked for message in request.messages)


def judge(fails_on: str = "\0", error: ChatError | None = None) -> Scripted:
    """The judge; a prompt that holds `fails_on` gets the error, or else a reply that is no verdict."""

    def reply(request: ChatRequest) -> str:
        if fails_on not in request.messages[0].content:
            return judges(request.messages[0].content)
        if error is not None:
            raise error
        return "I can't say."

    return Scripted(reply)


class Bench:
    """The parts of a search in a folder, with real everything but the transports."""

    def __init__(
        self,
        folder: Path,
        judge: Transport,
        meta: Transport,
        *,
        first: Rubric = LONG,
        annotator: Transport | None = None,
        inputs: Sequence[str] = (),
        resumes: bool = True,
    ) -> None:
        endpoint = {"url": "http://localhost:1/v1", "model": "m"}
        quality = Rubric(criteria=(rule("quality"),))
        monitor = MonitorSettings.model_validate({"judge": endpoint, "rubric": quality}) if annotator else None
        settings = Settings.model_validate({"rubric": first, "judge": endpoint, "monitor": monitor})
        connections = Connections(judge=judge, meta=meta, monitor=annotator)
        self.lineage = Lineage.open(
            folder,
            first,
            {"inputs": list(inputs)},
            ledger=connections.ledger,
            answered_by={"judge": "scripted"},
            resumes=resumes,
        )
        self._known = KnownAnswers(folder / "store.db")
        self.scorer = Scorer(settings, connections, self.lineage.best, self._known)
        self.model = MetaModel(meta, "the task", MetaSettings(), "meta")

    @property
    def revisions(self) -> list[Revision]:
        return [revision for _, revision in self.lineage.store.lineage()]

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._known.close()
        self.lineage.close()
