"""Every error of the server in one shape, and the one table from our errors to codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from metapo import errors
from metapo.api import ErrorAnswer, Failure

RETRY_S = 5


@dataclass(eq=False)
class Refused(Exception):
    """A request that is answered with an error."""

    status: int
    code: str
    message: str
    retry_after_s: int | None = None
    allow: str = ""

    @property
    def retryable(self) -> bool:
        return self.retry_after_s is not None

    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(self.retry_after_s)} if self.retry_after_s is not None else {}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="metapo"'
        if self.allow:
            headers["Allow"] = self.allow
        return headers

    def body(self, request: str) -> bytes:
        failure = Failure(code=self.code, message=self.message, retryable=self.retryable, request=request)
        return ErrorAnswer(error=failure).model_dump_json().encode()


class Code(NamedTuple):
    """How one of our errors is told; `retry_after_s` where the same request may succeed later."""

    status: int
    code: str
    retry_after_s: int | None = None


CODES: Mapping[type[errors.MetapoError], Code] = {
    errors.MetapoError: Code(500, "failed"),
    errors.SettingsError: Code(422, "settings"),
    errors.DataError: Code(422, "unreadable"),
    errors.RubricError: Code(422, "rubric"),
    errors.ActRefused: Code(409, "act_refused"),
    errors.Stopped: Code(409, "run_stopped"),
    errors.RunError: Code(503, "run_folder", RETRY_S),
    errors.StoreError: Code(503, "store", RETRY_S),
    errors.LineageError: Code(500, "lineage"),
    errors.StoreOutdated: Code(409, "old_store"),
    errors.UnknownRevision: Code(404, "unknown_revision"),
    errors.UnknownRecord: Code(404, "unknown"),
    errors.ChatError: Code(502, "judge", RETRY_S),
    errors.ChatRejected: Code(502, "judge_rejected"),
    errors.ChatTooLong: Code(502, "judge_too_long"),
    errors.ChatMisconfigured: Code(502, "judge_misconfigured"),
    errors.JudgeFailureLimit: Code(409, "too_many_unscored"),
    errors.BudgetSpent: Code(409, "budget_spent"),
}
"""An error that isn't listed is told as the nearest one above it in the tree."""


def refused(error: errors.MetapoError) -> Refused:
    """How an error of ours is told."""
    known = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    return Refused(known.status, known.code, str(error), known.retry_after_s)


def internal(request: str) -> Refused:
    """What nobody foresaw. What it was stands in the log alone."""
    return Refused(500, "internal", f"something in the server is broken. Its log tells more, at request {request}.")
