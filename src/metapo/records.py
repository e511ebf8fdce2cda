"""What happened, as records for the store, and what was scored, back from them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from metapo.judge.judge import Assessment, Call, Opinion
from metapo.judge.ledger import Ledger
from metapo.judge.transport import ChatReply, Sent, Try
from metapo.meta.conversation import Exchange
from metapo.meta.pairs import Pair, Source
from metapo.meta.step import MetaStep, Proposal
from metapo.reward import Aggregate, Monitored, Reward, Scored
from metapo.rubric import Outcome, Rubric
from metapo.store import (
    AnchorRecord,
    BegunRecord,
    CallRecord,
    ExchangeRecord,
    FindingRecord,
    MetaStepRecord,
    OpinionRecord,
    ProposalRecord,
    RolloutRecord,
    SampleRecord,
)


def rollout_record(scored: Scored) -> RolloutRecord:
    assessment, reward, monitored = scored.assessment, scored.reward, scored.monitored
    opinions = [OpinionRecord(o.role, o.judge, outcome) for o in assessment.opinions for outcome in o.outcomes]
    if monitored:
        opinions += [OpinionRecord("monitor", monitored.judge, outcome) for outcome in monitored.assessment.outcomes]
    return RolloutRecord(
        scored.rollout,
        scored.revision_id,
        reward.value,
        reward.normalized,
        reward.raw,
        assessment.outcomes,
        tuple(records_of(scored)),
        assessment.n_reused,
        assessment.n_left_out,
        monitored.reward.normalized if monitored else None,
        tuple(opinions),
        scored.screened,
    )


def scored_of(record: RolloutRecord, rubric: Rubric, aggregate: Aggregate) -> Scored:
    """What a record with its calls and opinions was made of, `rubric` being the one that scored it. Of the monitor's
    reward only the normalised value is known."""
    calls = {role: tuple(_calls([c for c in record.calls if c.role == role])) for role in ("judge", "monitor")}
    opinions: dict[tuple[Any, str], list[Outcome]] = {}
    for opinion in record.opinions:
        opinions.setdefault((opinion.role, opinion.judge), []).append(opinion.outcome)
    said = tuple(Opinion(judge, tuple(o), role) for (role, judge), o in opinions.items() if role != "monitor")
    assessment = Assessment(record.outcomes, calls["judge"], record.n_reused, record.n_left_out, said)
    watched = [
        Monitored(judge, Assessment(tuple(o), calls["monitor"]), Reward(None, record.monitor, None, ()))
        for (role, judge), o in opinions.items()
        if role == "monitor"
    ]
    parts = () if record.screened else aggregate(rubric, record.outcomes).parts
    reward = Reward(record.value, record.normalized, record.raw, parts)
    monitored = watched[0] if watched else None
    return Scored(record.rollout, record.revision_id, assessment, reward, monitored, record.screened)


def _calls(records: Sequence[CallRecord]) -> Iterator[Call]:
    """Each reply with the tries before it; tries without a reply are one call."""
    tries: list[Try] = []
    for r in records:
        if r.error:
            tries.append(Try(endpoint=r.endpoint, error=r.error, latency_s=r.latency_s, model=r.model))
            continue
        known = {name: value for name, value in vars(r).items() if name not in ("reply", "error", "role")}
        yield Call(ChatReply(text=r.reply, **known), tries=tuple(tries))
        tries = []
    if tries:
        yield Call(None, tries[-1].error, tuple(tries))


def records_of(scored: Scored) -> list[CallRecord]:
    """The calls that a rollout took, the judge's before the monitor's."""
    roles = ("judge", "monitor")
    return [
        record
        for role, assessment in zip(roles, scored.assessments, strict=False)
        for call in assessment.calls
        for record in call_records(call, role)
    ]


def take_records(ledger: Ledger, account: str = "") -> list[CallRecord]:
    """The calls of an account that are in nobody's record yet; whoever takes them has to write them."""
    return [_call_record(sent, role) for role, sent in ledger.take(account)]


def call_records(call: Call, role: str) -> list[CallRecord]:
    """One record per HTTP request: those that failed, then the reply."""
    records = [_call_record(sent, role) for sent in call.sent]
    return records or [CallRecord(reply="", error=call.error, role=role)]


def _call_record(sent: Sent, role: str) -> CallRecord:
    record = CallRecord("", model=sent.model, latency_s=sent.latency_s, role=role, endpoint=sent.endpoint)
    if isinstance(sent, Try):
        return replace(record, error=sent.error)
    return replace(
        record,
        reply=sent.text,
        finish_reason=sent.finish_reason,
        prompt_tokens=sent.prompt_tokens,
        completion_tokens=sent.completion_tokens,
        cached_tokens=sent.cached_tokens,
        cost_usd=sent.cost_usd,
    )


def meta_step_record(begun: BegunRecord, done: MetaStep, decision: str, seconds: float) -> MetaStepRecord:
    """`decision` stands in for the step's own where people have the last word."""
    return MetaStepRecord(
        **vars(begun),
        parent_id=done.parent_id,
        child=done.child,
        decision=decision,
        reason=done.reason,
        samples=tuple(SampleRecord(s.scored.rollout, s.why, tuple(f.value for f in s.flags)) for s in done.samples),
        exchanges=tuple(exchange_record(e) for e in done.exchanges),
        proposals=tuple(proposal_record(p) for p in done.proposals),
        evidence=tuple(
            anchor_record(pair, Source.ARCHIVE if pair in done.evidence else Source.EARLIER) for pair in done.exam
        ),
        seconds=seconds,
    )


def exchange_record(exchange: Exchange) -> ExchangeRecord:
    """The exchange with its reply, or else with the last try."""
    sent = call_records(exchange.call, "meta")[-1]
    return ExchangeRecord(
        exchange.stage.value,
        exchange.sample,
        exchange.prompt,
        exchange.reply,
        exchange.error,
        model=sent.model,
        prompt_tokens=sent.prompt_tokens,
        completion_tokens=sent.completion_tokens,
        cost_usd=sent.cost_usd,
        latency_s=sent.latency_s,
    )


def proposal_record(proposal: Proposal) -> ProposalRecord:
    report = proposal.report
    findings = [] if report is None else report.findings
    return ProposalRecord(
        proposal.revision,
        proposal.accepted,
        report.reason if report else "",
        proposal.repairs,
        tuple(FindingRecord(f.check.value, f.passed, f.detail, f.parent, f.child, f.n) for f in findings),
    )


def anchor_record(pair: Pair, source: Source, *, who: str = "", added_at: str = "") -> AnchorRecord:
    """A pair to hold on to; one of a meta step says where it came from."""
    why = pair.why if source is Source.ANCHOR else f"{pair.source.value}: {pair.why}"
    return AnchorRecord(
        prompt=pair.prompt,
        better=pair.better,
        worse=pair.worse,
        source=source.value,
        why=why,
        who=who,
        added_at=added_at,
        reference=pair.reference,
    )
