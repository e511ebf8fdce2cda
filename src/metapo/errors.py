"""Every exception that metapo raises, as one tree.

    MetapoError
      SettingsError           a settings file or a flag is wrong
      DataError               prompts or rollouts that can't be used, with the row
      RubricError             a rubric breaks its own rules or can't be read
      ModelError              a model folder that can't be used
      MissingExtra            an optional dependency is not installed
      RunError                a run folder can't be used
        RunInUse                another process holds it
        RunExists               it holds a run already, and nobody asked to resume
        ActRefused              what a person decides about its rubric can't be done, or would change nothing
        Stopped                 it was stopped, and scores nothing until somebody mends what stopped it
      StoreError              the store can't be read or written
        LineageError            the lineage doesn't verify
        StoreOutdated           it has an older schema, and was opened to be read only
        UnknownRevision         no revision has this id, or several begin with it
        UnknownRecord           it holds nothing by this name: no such rollout, prompt or meta step
      ChatError               one call to a chat endpoint failed
        ChatUnreachable         refused, reset, DNS, TLS          (retryable)
        ChatTimeout             no answer in time, 408            (retryable)
        ChatOverloaded          429 and 5xx                       (retryable)
        ChatBadResponse         an answer that is no chat reply   (retryable)
        ChatDown                the endpoint failed too often: nothing is sent to it for a while
        ChatRejected            the server refuses this one request (400, 413, 422 and other 4xx)
        ChatTooLong             the request doesn't fit into the model's context
        ChatMisconfigured       wrong key, address or model (401, 403, 404, 405, 3xx): no request will ever succeed
      JudgeFailureLimit       too many rollouts went unscored; the run stops
      RewardServerError       a reward server refused a request, or can't be reached
      RolloutUnscored         one rollout has no reward, and the engine can leave none out
      BudgetSpent             the tokens or the money that the settings allow are used up; the run stops

A message says what came, what was allowed and what to do.
"""

from typing import Any


class MetapoError(Exception):
    """Base of every error that metapo raises on purpose."""

    retryable = False


class SettingsError(MetapoError):
    """A settings file or a flag is wrong."""


class DataError(MetapoError):
    """Prompts or rollouts that can't be used; the message names file and row."""


class RubricError(MetapoError):
    """A rubric breaks its own rules or can't be read."""


class ModelError(MetapoError):
    """A model folder that can't be used."""


class MissingExtra(MetapoError):
    """An optional dependency is not installed; the message names the install command."""

    def __init__(self, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the extra '{extra}'. Install it with: pip install 'metapo[{extra}]'")


class RunError(MetapoError):
    """A run folder can't be used."""


class RunInUse(RunError):
    """Another process holds the run folder."""


class RunExists(RunError):
    """The folder holds a run already, and nobody asked to resume it."""


class ActRefused(RunError):
    """What a person decides about a run's rubric can't be done, or would change nothing."""


class Stopped(RunError):
    """The run was stopped: nothing is scored until what stopped it is mended and the service begun anew."""


class StoreError(MetapoError):
    """The store can't be read or written."""


class LineageError(StoreError):
    """The lineage doesn't verify: a revision is missing or its content is not what its id says."""


class StoreOutdated(StoreError):
    """The store has an older schema than this version reads, and was opened to be read only."""


class UnknownRevision(StoreError):
    """No revision has this id, or several begin with it."""


class UnknownRecord(StoreError):
    """The store holds nothing by this name: no such rollout, prompt or meta step, or none that counts."""


class ChatError(MetapoError):
    """One call to a chat endpoint failed. `tries` holds each HTTP request that was made for it."""

    retry_after_s: float | None = None
    """How long the server asks to wait before the next try, if it says."""
    tries: tuple[Any, ...] = ()


class ChatUnreachable(ChatError):
    """The endpoint refused or dropped the connection, or its name or certificate is wrong."""

    retryable = True


class ChatTimeout(ChatError):
    """The endpoint gave no answer in time."""

    retryable = True


class ChatOverloaded(ChatError):
    """The endpoint answered 429 or 5xx."""

    retryable = True


class ChatBadResponse(ChatError):
    """The endpoint answered, but not with a chat reply."""

    retryable = True


class ChatDown(ChatError):
    """The endpoint failed too often in a row: nothing is sent to it until a pause has gone by."""


class ChatTooLong(ChatError):
    """The request doesn't fit into the model's context."""


class ChatRejected(ChatError):
    """The endpoint refuses this one request, and would again."""


class ChatMisconfigured(ChatError):
    """Wrong key, address or model: no request to this endpoint will ever succeed."""


class JudgeFailureLimit(MetapoError):
    """More than the allowed share of rollouts went unscored: in a step, and the run stopped with a checkpoint, or in a
    file."""


class RewardServerError(MetapoError):
    """A reward server refused a request, or can't be reached. `code` is the server's own; "unreachable" where there is
    none, "unsure" where what was asked may be on record. `status` is that of the HTTP answer, 0 without one; `request`
    is the id of the request in the server's log."""

    retry_after_s: float | None = None
    """How long the server asks to wait before the next try, if it says."""

    def __init__(self, message: str, *, code: str = "unreachable", status: int = 0, request: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request = request


class RolloutUnscored(MetapoError):
    """A rollout has no reward, and the engine that wants one can't leave it out."""


class BudgetSpent(MetapoError):
    """The tokens or the money that the settings allow are used up; the run stopped with a checkpoint."""
