"""Servers on loopback that speak like real ones: which fields each honours, refuses or ignores, and what it reports.

Each judges by taking the top level everywhere, knows the name of a ferry that it was told, and answers any other prompt
with "yes". After the documentation of each
server and what was seen of vLLM and llama-server (tests/real runs the latter itself).
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.servers import Answer, Ask, Behaviour, ChatServer, completion, status, verdicts

_FERRY = re.compile(r"^The ferry is called (\w+)\.$", re.MULTILINE)
_LETTERS = re.compile(r"Its levels, from worst to best: (.+?)\. Answer")
KEY = "sk-dialect"


@dataclass(frozen=True)
class Dialect:
    """What a server does with the fields of a request. Where `known` is None it ignores those that it doesn't know.

    Of a prompt it reads the last `reads_chars` characters, and says nothing of those that it leaves out.
    """

    name: str
    schema: bool = True
    choice: bool = False
    logprobs: bool = True
    masked: bool = True
    cached: bool = True
    checks_model: bool = True
    reads_chars: int = 1_000_000
    key: str = ""
    known: frozenset[str] | None = None
    entry: tuple[tuple[str, Any], ...] = ()

    def serve(self, model: str) -> ChatServer:
        """A server for one model, not yet started."""
        return ChatServer(self._behaviour(model), [{"id": model, "object": "model", **dict(self.entry)}])

    def _behaviour(self, model: str) -> Behaviour:
        seen: list[str] = []

        def behave(ask: Ask) -> Answer:
            if wrong := self._refusal(ask, model):
                return wrong
            ask = replace(ask, body={**ask.body, "messages": [{"content": ask.prompt[-self.reads_chars :]}]})
            text, options = self._reply(ask)
            body = completion(text) | {"model": model}
            n_shared = max((len(os.path.commonprefix([ask.prompt, p])) for p in seen), default=0)
            seen.append(ask.prompt)
            body["usage"] = {"prompt_tokens": len(ask.prompt) // 4, "completion_tokens": max(1, len(text) // 4)}
            if self.cached:
                body["usage"]["prompt_tokens_details"] = {"cached_tokens": n_shared // 4}
            if self.logprobs and ask.body.get("logprobs"):
                body["choices"][0]["logprobs"] = {"content": self._tokens(text, options)}
            return Answer(body=json.dumps(body).encode())

        return behave

    def _refusal(self, ask: Ask, model: str) -> Answer | None:
        if self.key and ask.headers.get("Authorization") != f"Bearer {self.key}":
            return status(401, "Incorrect API key provided")(ask)
        if self.checks_model and ask.body["model"] != model:
            return status(404, f"The model `{ask.body['model']}` does not exist.")(ask)
        if self.known is not None and (unknown := set(ask.body) - self.known):
            return status(400, f"Unsupported parameter: {sorted(unknown)[0]!r} is not supported with this model.")(ask)
        return None

    def _reply(self, ask: Ask) -> tuple[str, Sequence[str]]:
        """The text, and the options that it was chosen from, if any."""
        spec = _spec(ask.body) if self.schema else None
        choice = (ask.body.get("structured_outputs") or {}).get("choice") if self.choice else None
        if letters := _LETTERS.search(ask.prompt):
            options = [part.split(" = ")[0] for part in letters[1].split(", ")]
            return (json.dumps(options[-1]) if spec and not choice else options[-1]), options
        if "the name of the ferry?" in ask.prompt:
            named = _FERRY.search(ask.prompt)
            options = choice or (spec["enum"] if spec else ["I see no name."])
            name = named[1] if named else options[-1]
            return (json.dumps(name) if spec and not choice else name), ()
        if choice:
            return str(choice[-1]), choice
        if "<rubric>" in ask.prompt:
            return str(json.loads(verdicts()(ask).body)["choices"][0]["message"]["content"]), ()
        return (json.dumps(_instance(spec)) if spec else "yes"), ()

    def _tokens(self, text: str, options: Sequence[str]) -> list[dict[str, Any]]:
        """One token per letter, as a small vocabulary would have it; the last option with nine tenths of the mass."""
        tokens = []
        for char in text[:20]:
            top = {char: 0.9}
            if char in options:
                top |= {o: 0.1 / (len(options) - 1) for o in options if o != char}
            if not self.masked:
                top = {"The": 0.4} | {token: 0.6 * p for token, p in top.items()}
            tops = [{"token": token, "logprob": math.log(p)} for token, p in top.items()]
            tokens.append({"token": char, "logprob": math.log(top[char]), "top_logprobs": tops})
        return tokens


def _spec(body: Mapping[str, Any]) -> Any:
    form = body.get("response_format") or {}
    return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None


def _instance(spec: Mapping[str, Any]) -> Any:
    """Something that fits a schema of objects and enums."""
    if "enum" in spec:
        return spec["enum"][-1]
    return {name: _instance(part) for name, part in spec["properties"].items()}


VLLM = Dialect("vllm", choice=True, entry=(("owned_by", "vllm"), ("max_model_len", 16384)))
SGLANG = Dialect("sglang", entry=(("owned_by", "sglang"), ("max_model_len", 32768)))
LLAMA_CPP = Dialect(
    "llama.cpp", masked=False, checks_model=False, entry=(("owned_by", "llamacpp"), ("meta", {"n_ctx_train": 8192}))
)
OLLAMA = Dialect("ollama", logprobs=False, cached=False, entry=(("owned_by", "library"),))
HOSTED = Dialect(
    "hosted",
    logprobs=False,
    key=KEY,
    known=frozenset({"model", "messages", "max_completion_tokens", "temperature", "response_format"}),
    entry=(("owned_by", "system"),),
)
DIALECTS = {d.name: d for d in (VLLM, SGLANG, LLAMA_CPP, OLLAMA, HOSTED)}
