"""Where a model answers, within which limits, and what it costs."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from metapo.rubric import Frozen


class Price(Frozen):
    """US dollars per million tokens. Without `cached`, prompt tokens from the server's cache cost as much as others."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)

    def cost(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """US dollars of one reply; `cached_tokens` are among the `prompt_tokens`."""
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion) / 1e6


class EndpointSettings(Frozen):
    """An OpenAI-compatible server. `url` ends before /chat/completions; `replicas` are more URLs where the same model
    answers, which share the load and stand in for one another. The key is read from `api_key_env` when set.

    A request that fails in a way that may pass is sent again until `deadline_s` seconds have gone by since its first
    try; `connect_timeout_s` and `timeout_s` bound one try. `max_in_flight`, times the number of URLs, bounds the
    requests under way at once; the two rates count all URLs together. `structured` says how to ask for JSON ("auto"
    finds out), `extra_body` is added to each request as it is, such as
    {"chat_template_kwargs": {"enable_thinking": false}}.
    """

    url: str = Field(min_length=1)
    replicas: tuple[str, ...] = ()
    model: str = Field(min_length=1)
    api_key_env: str | None = None
    connect_timeout_s: float = Field(default=10.0, gt=0)
    timeout_s: float = Field(default=60.0, gt=0)
    deadline_s: float = Field(default=120.0, gt=0)
    max_in_flight: int = Field(default=32, ge=1)
    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    structured: Literal["auto", "json_schema", "json_object", "none"] = "auto"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    extra_body: dict[str, Any] = Field(default={})
    price: Price | None = None

    @property
    def at_once(self) -> int:
        """How many requests may be under way."""
        return self.max_in_flight * (1 + len(self.replicas))

    @property
    def where(self) -> str:
        """For people: what is asked."""
        return self.url


class LocalSettings(Frozen):
    """A model that answers in this process. `local` is a model folder or a hub id.

    A `device` of "auto" is the GPU where there is one, a `dtype` of "auto" the one that the weights were saved in.
    Up to `max_batch` requests are answered at once; `seed` is for requests with a temperature;
    `chat_template_kwargs` go to the chat template, such as {"enable_thinking": false}.
    """

    local: str = Field(min_length=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_batch: int = Field(default=16, ge=1)
    seed: int = 0
    chat_template_kwargs: dict[str, Any] = Field(default={})

    @property
    def model(self) -> str:
        return self.local

    @property
    def at_once(self) -> int:
        """How many requests may be under way."""
        return self.max_batch

    @property
    def where(self) -> str:
        """For people: what is asked."""
        return self.local


def _kind(value: Any) -> str:
    is_local = isinstance(value, LocalSettings) or (isinstance(value, dict) and "local" in value)
    return "<local>" if is_local else "<server>"


Endpoint = Annotated[
    Annotated[EndpointSettings, Tag("<server>")] | Annotated[LocalSettings, Tag("<local>")], Discriminator(_kind)
]
"""A server, or, where the settings say `local`, a model in this process."""
