"""Chats answered by a model in this process, many at once, each in its own form.

One batch goes through `model.generate`; what sets its rows apart happens between the model's scores and the choice of
a token. `_Steer` masks what a row's grammar forbids, notes the log-probabilities, and adds the row's own noise where it
samples, so that the most likely token is always the one to take. `_Stop` ends each row where it has to end.
"""

import codecs
import hashlib
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from transformers.utils.logging import disable_progress_bar

from metapo.engines.models import load_model, load_tokenizer
from metapo.errors import ChatBadResponse, ChatError, ChatRejected, ChatTooLong, ModelError, SettingsError
from metapo.judge.endpoint import LocalSettings
from metapo.judge.transport import ChatReply, ChatRequest, ChoiceForm, JsonForm, Token
from metapo.rollout import Message

# White space as json.dumps writes it and no other: a grammar that allows any lets a model write it until it is cut.
_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
_SAMPLED_WEIGHTS = 1024  # per tensor, for the fingerprint
_TINY = 1e-30


@dataclass(frozen=True)
class Ask:
    """A request, and whether its reply is still wanted."""

    request: ChatRequest
    is_wanted: Callable[[], bool]


@dataclass
class _Row:
    """One request in a batch, and what was written for it so far."""

    ask: Ask
    prompt: list[int]
    max_tokens: int
    ends: frozenset[int]
    grammar: LLMatcher | None
    noise: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    tops: list[list[tuple[int, float]]] = field(default_factory=list)
    finish_reason: str = ""

    def steer(self, logits: torch.Tensor) -> None:
        """Change the scores of the next token in place, so that the highest is the one to take."""
        if self.grammar is not None:
            # One byte per token, 0 where it is forbidden.
            allowed = torch.frombuffer(bytearray(self.grammar.compute_logit_bias()), dtype=torch.uint8)
            logits.masked_fill_((allowed[: len(logits)] == 0).to(logits.device), -torch.inf)
        if n_top := self.ask.request.top_logprobs:
            values, ids = logits.log_softmax(-1).topk(min(n_top, len(logits)))
            self.tops.append([(i, v) for i, v in zip(ids.tolist(), values.tolist(), strict=True) if v > -torch.inf])
        if self.noise is not None:
            # The largest of logit / temperature - log(exponential noise) is a draw from the softmax.
            noise = torch.empty_like(logits).exponential_(generator=self.noise).clamp_min_(_TINY)
            logits.div_(self.ask.request.temperature).sub_(noise.log_())

    def push(self, token: int) -> None:
        """Take one more token, and see whether the row ends with it."""
        if self.finish_reason:
            return
        self.ids.append(token)
        if token in self.ends or (self.grammar is not None and self._fulfils(self.grammar, token)):
            self.finish_reason = "stop"
        elif not self.ask.is_wanted():
            self.finish_reason = "unwanted"
        elif len(self.ids) >= self.max_tokens:
            self.finish_reason = "length"

    @staticmethod
    def _fulfils(grammar: LLMatcher, token: int) -> bool:
        """Is the text complete with this token? Also true where the grammar gave up; its error says so."""
        grammar.consume_token(token)
        is_complete: bool = grammar.is_stopped()
        return is_complete


class _Steer(LogitsProcessor):  # type: ignore[misc]
    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for row, logits in zip(self._rows, scores, strict=True):
            if not row.finish_reason:
                row.steer(logits)
        return scores


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, rows: Sequence[_Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        for row, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
            row.push(token)
        return torch.tensor([bool(row.finish_reason) for row in self._rows], device=input_ids.device)


class Decoder:
    """A causal language model with its tokenizer. To be used by one thread at a time."""

    def __init__(self, settings: LocalSettings, *, bare: bool = False) -> None:
        """Load both. `bare` is as in ChatEncoder. Raises ModelError, SettingsError."""
        disable_progress_bar()
        self.settings = settings
        self.device = _device(settings)
        self._chats = ChatEncoder(load_tokenizer(settings.local), settings.chat_template_kwargs, bare=bare)
        self._model = load_model(settings.local, device=self.device, dtype=settings.dtype)
        config = self._model.config.get_text_config()
        self._n_context: int | None = getattr(config, "max_position_embeddings", None)
        tokenizer = self._chats.tokenizer
        ends = self._model.generation_config.eos_token_id
        ends = [ends] if isinstance(ends, int) else list(ends or [])
        self._ends = frozenset(ends) | ({tokenizer.eos_token_id} - {None})
        self._pad = tokenizer.pad_token_id or 0
        # The sampling that a model recommends is left out: the request alone says how to sample.
        self._model.generation_config = GenerationConfig(pad_token_id=self._pad)
        n_named = max(tokenizer.get_vocab().values()) + 1
        n_tokens = max(config.vocab_size, n_named)  # either may be the larger
        specials = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._hidden = specials | self._ends | set(range(n_named, n_tokens))
        self._vocabulary = _vocabulary(settings.local, tokenizer, n_tokens, sorted(self._ends))
        self._n_sampled = Counter[str]()

    def answer(self, asks: Sequence[Ask]) -> list[ChatReply | ChatError]:
        """One outcome per request, in order, from one batch. A reply that is no longer wanted is cut short."""
        began_at = time.monotonic()
        rows = [self._row(ask) for ask in asks]
        self._generate([row for row in rows if isinstance(row, _Row)])
        seconds = time.monotonic() - began_at
        return [self._reply(row, seconds) if isinstance(row, _Row) else row for row in rows]

    def fingerprint(self) -> str:
        """The model's name, class, type and device, and a digest over the tokenizer and a sample of all weights."""
        tokenizer = self._chats.tokenizer
        found = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
        found.update(str(tokenizer.chat_template).encode())
        for name, weights in self._model.state_dict().items():
            some = weights.flatten()[:: max(1, weights.numel() // _SAMPLED_WEIGHTS)]
            found.update(f"{name} {tuple(weights.shape)} {some.double().tolist()}".encode())
        kind = type(self._model).__name__
        return f"{self.settings.local} {kind} {self._model.dtype} {self.device} {found.hexdigest()[:16]}"

    def _row(self, ask: Ask) -> _Row | ChatError:
        request = ask.request
        try:
            prompt = self._chats.encode(request.messages)
            grammar = self._grammar(request.form) if request.form else None
        except ChatError as e:
            return e
        room = request.max_tokens if self._n_context is None else self._n_context - len(prompt)
        if room < 1:
            return ChatTooLong(
                f"the request has {len(prompt)} tokens, and the context of {self.settings.local} holds "
                f"{self._n_context}, the reply included. Shorten the request, or use a model with a longer context."
            )
        return _Row(ask, prompt, min(request.max_tokens, room), self._ends, grammar, self._noise(request))

    def _grammar(self, form: JsonForm | ChoiceForm) -> LLMatcher:
        """Raises ChatRejected where a schema says what can't be enforced."""
        if isinstance(form, JsonForm):
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(form.spec), overrides=_JSON)
        else:
            grammar = LLMatcher.grammar_from_lark("start: " + " | ".join(json.dumps(o) for o in form.options))
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0)
        if matcher.is_error():
            raise ChatRejected(f"the form {form!r:.300} can't be enforced: {matcher.get_error()[:300]}")
        return matcher

    def _noise(self, request: ChatRequest) -> torch.Generator | None:
        """What a request samples with: set by its content, the seed, and how often it came before; not by the batch."""
        if request.temperature == 0:
            return None
        key = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
        self._n_sampled[key] += 1
        seed = hashlib.sha256(f"{self.settings.seed} {self._n_sampled[key]} {key}".encode()).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(seed[:7]))

    def _generate(self, rows: Sequence[_Row]) -> None:
        if not rows:
            return
        width = max(len(row.prompt) for row in rows)
        padded = [[self._pad] * (width - len(row.prompt)) + row.prompt for row in rows]
        mask = [[0] * (width - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
        self._model.generate(
            input_ids=torch.tensor(padded, device=self.device),
            attention_mask=torch.tensor(mask, device=self.device),
            max_new_tokens=max(row.max_tokens for row in rows),
            logits_processor=LogitsProcessorList([_Steer(rows)]),
            stopping_criteria=StoppingCriteriaList([_Stop(rows)]),
        )

    def _reply(self, row: _Row, seconds: float) -> ChatReply | ChatError:
        if row.grammar is not None and row.grammar.is_error():
            return ChatBadResponse(f"the reply left its form: {row.grammar.get_error()[:300]}")
        pieces = self._pieces(row.ids)
        tokens = [
            Token(text=piece, top=tuple((self._bytes(i).decode(errors="replace"), v) for i, v in top))
            for piece, top in zip(pieces, row.tops, strict=False)
            if piece is not None
        ]
        return ChatReply(
            text="".join(piece for piece in pieces if piece is not None),
            model=self.settings.local,
            finish_reason=row.finish_reason,
            tokens=tuple(tokens),
            prompt_tokens=len(row.prompt),
            completion_tokens=len(row.ids),
            latency_s=seconds,
            endpoint="local",
        )

    def _pieces(self, ids: Sequence[int]) -> list[str | None]:
        """The text that each token adds, None for one without text. A character is of the token that completes it."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [None if i in self._hidden else decoder.decode(self._bytes(i)) for i in ids]
        rest = decoder.decode(b"", final=True)
        return pieces if not rest else [*pieces[:-1], (pieces[-1] or "") + rest]

    def _bytes(self, token: int) -> bytes:
        text: bytes = self._vocabulary.decode_bytes([token])
        return text


class ChatEncoder:
    """Messages to token ids: by the tokenizer's chat template or, without one, as paragraphs "role: content" and a
    last one "assistant:". With `bare`, a message that stands alone is then the whole prompt, as for a base model.

    What looks like a control token inside a message is encoded as plain text, so that no completion can end its own
    turn or begin another's. That covers every token that was added to the vocabulary, whether marked special or not,
    except white space and single characters.
    """

    def __init__(self, tokenizer: Any, chat_template_kwargs: dict[str, Any], *, bare: bool = False) -> None:
        self.tokenizer = tokenizer
        self._bare = bare
        self._kwargs = chat_template_kwargs
        controls = [token for token in tokenizer.get_added_vocab() if len(token.strip()) > 1]
        # Looking ahead finds those that overlap. The second branch is for a tokenizer without any: it matches nothing.
        self._control = re.compile(rf"(?=({'|'.join(map(re.escape, controls)) or '(?!)'}))")
        starts = tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]
        self._start = tokenizer.bos_token if starts else ""

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a prompt that ends where the reply begins. Raises ChatRejected."""
        contents = "".join(m.content for m in messages)
        cut = next(c for c in map(chr, range(0xF0000, 0x110000)) if c not in contents)
        text = self._render([{"role": m.role, "content": self._cut(m.content, cut)} for m in messages])
        pieces = [self.tokenizer(piece, add_special_tokens=False)["input_ids"] for piece in text.split(cut)]
        return [i for piece in pieces for i in piece]

    def _cut(self, content: str, cut: str) -> str:
        """Put the mark behind the first character of each control token, so that none is encoded in one piece."""
        at = [found.start() + 1 for found in self._control.finditer(content)]
        return cut.join(content[i:j] for i, j in zip([0, *at], [*at, len(content)], strict=True))

    def _render(self, messages: list[dict[str, str]]) -> str:
        if self.tokenizer.chat_template is None and self._bare and len(messages) == 1:
            return self._start + messages[0]["content"]
        if self.tokenizer.chat_template is None:
            return self._start + "\n\n".join([f"{m['role']}: {m['content']}" for m in messages] + ["assistant:"])
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self._kwargs
            )
        except jinja2.TemplateError as e:
            raise ChatRejected(f"the model's chat template refuses the messages: {e}") from e
        return text


def _device(settings: LocalSettings) -> str:
    if settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError(f"device is 'cuda' for {settings.local}, but torch sees no GPU. Set device to auto or cpu.")
    return settings.device


def _vocabulary(model: str, tokenizer: Any, n_tokens: int, ends: list[int]) -> LLTokenizer:
    """The tokens as bytes, for grammars and texts. Raises ModelError."""
    try:
        return from_tokenizer(tokenizer, n_vocab=n_tokens, eos_token=ends)
    except ValueError as e:
        raise ModelError(
            f"the tokens of {model} can't be turned into bytes: {e}. Use a model whose tokenizer.json is byte-level or "
            "falls back to bytes, and has an end token."
        ) from e
