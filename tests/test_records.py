"""What happened, as records: each HTTP request once."""

import pytest

from metapo.judge.judge import Call
from metapo.judge.transport import ChatReply, Try
from metapo.records import call_records
from metapo.store import CallRecord

TRIES = (
    Try(endpoint="u", error="reset", latency_s=2.0, model="m"),
    Try(endpoint="v", error="503", latency_s=1.0, model="m"),
)
TRIED = [
    CallRecord("", "reset", model="m", role="judge", endpoint="u", latency_s=2.0),
    CallRecord("", "503", model="m", role="judge", endpoint="v", latency_s=1.0),
]
REPLY = ChatReply(
    text="raw", model="m", finish_reason="length", prompt_tokens=9, cached_tokens=8, completion_tokens=7, cost_usd=0.5,
    latency_s=0.25, endpoint="w",
)  # fmt: skip
REPLIED = CallRecord("raw", "", "m", "length", 9, 7, 0.25, "judge", "w", 8, 0.5)


@pytest.mark.parametrize(
    ("call", "records"),
    [
        (Call(REPLY), [REPLIED]),
        (Call(REPLY, tries=TRIES), [*TRIED, REPLIED]),
        (Call(None, "ChatTimeout: late", TRIES), TRIED),
        (Call(None, "ChatDown: nobody"), [CallRecord("", "ChatDown: nobody", role="judge")]),
    ],
)
def test_each_http_request_is_on_record(call: Call, records: list[CallRecord]) -> None:
    assert call_records(call, "judge") == records
    assert {r.role for r in call_records(call, "monitor")} == {"monitor"}
