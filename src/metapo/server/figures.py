"""What a server counts, for Prometheus."""

from collections import Counter
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest
from prometheus_client import Counter as Counted

from metapo.rubric import Unscored
from metapo.store import RolloutRecord, Spent

LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 180, 300)


class Figures:
    """The figures of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.n_rollouts = 0
        self.n_unscored = 0
        into = self.registry
        self._requests = Counted("metapo_requests", "Requests answered.", ("route", "status"), registry=into)
        self._refused = Counted("metapo_errors", "Errors answered, by code.", ("code",), registry=into)
        self._seconds = Histogram(
            "metapo_request_seconds",
            "Seconds from a request's head to its answer.",
            ("route",),
            registry=into,
            buckets=LATENCIES_S,
        )
        self._rollouts = Counted("metapo_rollouts", "Rollouts answered.", ("split", "outcome"), registry=into)
        self._reasons = Counted("metapo_unscored_criteria", "Criteria without a verdict.", ("reason",), registry=into)
        self._in_flight = Gauge("metapo_in_flight", "Requests under way.", registry=into)
        self._step = Gauge("metapo_step", "Optimizer steps done.", registry=into)
        self._stopped = Gauge("metapo_stopped", "1 where the run was stopped by an error.", registry=into)
        self._tokens = Gauge("metapo_spent_tokens", "Tokens of the run's calls, in all processes.", registry=into)
        self._usd = Gauge("metapo_spent_usd", "US dollars that the run's calls cost, in all processes.", registry=into)

    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if code:
            self._refused.labels(code).inc()

    def scored(self, records: Sequence[RolloutRecord]) -> None:
        for record in records:
            outcome = "unscored" if record.value is None else "screened" if record.screened else "scored"
            self._rollouts.labels(record.rollout.split.value, outcome).inc()
            self.n_rollouts += 1
            self.n_unscored += record.value is None
        missing = (o.reason.value for r in records for o in r.outcomes if isinstance(o, Unscored))
        for reason, n in Counter(missing).items():
            self._reasons.labels(reason).inc(n)

    def shown(self, *, in_flight: int, step: int, stopped: bool, spent: Spent) -> bytes:
        """All figures in Prometheus' text format."""
        self._in_flight.set(in_flight)
        self._step.set(step)
        self._stopped.set(stopped)
        self._tokens.set(spent.tokens)
        self._usd.set(spent.cost_usd)
        return generate_latest(self.registry)
