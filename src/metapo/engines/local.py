"""A judge or meta model in this process, on transformers: no server, behind the same seam as one."""

import asyncio
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from metapo.errors import ChatError, ChatOverloaded, MissingExtra
from metapo.judge.endpoint import LocalSettings
from metapo.judge.transport import ChatReply, ChatRequest

try:
    import torch

    from metapo.engines.decoding import Ask, Decoder
except ImportError as e:
    raise MissingExtra("local", "a judge in this process") from e


@dataclass(eq=False)
class _Job:
    """A request that waits for its reply. `is_dropped` says that nobody waits any more."""

    request: ChatRequest
    reply: Future[ChatReply] = field(default_factory=Future)
    is_dropped: bool = False

    def finish(self, outcome: ChatReply | ChatError) -> None:
        if isinstance(outcome, ChatError):
            self.reply.set_exception(outcome)
        else:
            self.reply.set_result(outcome)


class LocalTransport:
    """One model, one thread that decodes: requests that wait together are answered together.

    - A batch ends with its longest reply; requests that come meanwhile wait for the next one.
    - JsonForm and ChoiceForm are enforced: a reply has the form unless it is cut ("length"). Choices come bare.
    - Log-probabilities are those under the form, before the temperature: what it forbids has no share in them, and the
      labels of a choice sum to 1. A special token has no text and no entry.
    - Samples depend on the request, the seed, and how often that request came; not on what else is in the batch.
    - A request that is cancelled leaves the queue, or its place in the batch after the next token.
    """

    def __init__(self, settings: LocalSettings, *, bare: bool = False) -> None:
        """Load the model. With `bare`, one without a chat template is given a message that stands alone as it is.
        Raises ModelError, SettingsError."""
        self.settings = settings
        self._decoder = Decoder(settings, bare=bare)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metapo-local")
        self._jobs: deque[_Job] = deque()
        self._is_closed = False
        self._identity = ""

    async def complete(self, request: ChatRequest) -> ChatReply:
        """The reply, when its batch is through. Raises ChatError."""
        self._check_open()
        job = _Job(request)
        self._jobs.append(job)
        # Not before the tasks that are ready now had their turn: what they ask for goes into the same batch.
        asyncio.get_running_loop().call_soon(self._wake)
        try:
            return await asyncio.wrap_future(job.reply)
        except asyncio.CancelledError:
            job.is_dropped = True
            raise

    async def identify(self) -> str:
        """The model's name and a fingerprint of its weights and tokenizer. Raises ChatError."""
        if not self._identity:
            self._check_open()
            self._identity = await asyncio.wrap_future(self._worker.submit(self._decoder.fingerprint))
        return self._identity

    async def aclose(self) -> None:
        """End the thread. Requests under way raise ChatError, after the token that is being computed."""
        if not self._is_closed:
            self._is_closed = True
            await asyncio.wrap_future(self._worker.submit(self._refuse_all))
            self._worker.shutdown()

    def _check_open(self) -> None:
        if self._is_closed:
            raise self._closed()

    def _closed(self) -> ChatError:
        return ChatError(f"the local model {self.settings.local} was closed")

    def _wake(self) -> None:
        if self._jobs and not self._is_closed:
            self._worker.submit(self._work)

    def _work(self) -> None:
        """Answer the oldest requests, up to `max_batch`; on the worker's thread, once per request that came."""
        jobs = self._take(self.settings.max_batch)
        asks = [Ask(job.request, partial(self._is_wanted, job)) for job in jobs]
        outcomes: list[ChatReply | ChatError]
        try:
            outcomes = list(self._decoder.answer(asks)) if asks else []
        except Exception as e:  # of whatever kind: a request without an outcome would wait for ever
            outcomes = [self._failure(e) for _ in jobs]
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.finish(self._closed() if self._is_closed else outcome)

    def _is_wanted(self, job: _Job) -> bool:
        return not (job.is_dropped or self._is_closed)

    def _refuse_all(self) -> None:
        for job in self._take(len(self._jobs)):
            job.finish(self._closed())

    def _take(self, n: int) -> list[_Job]:
        """The next jobs that somebody waits for. They can't be cancelled any more, only dropped."""
        jobs: list[_Job] = []
        while self._jobs and len(jobs) < n:
            job = self._jobs.popleft()
            if job.reply.set_running_or_notify_cancel():
                jobs.append(job)
        return jobs

    def _failure(self, error: Exception) -> ChatError:
        if isinstance(error, torch.OutOfMemoryError):
            return ChatOverloaded(
                f"{self.settings.local} ran out of GPU memory with {self.settings.max_batch} requests at once. "
                "Lower max_batch."
            )
        return ChatError(f"{self.settings.local} failed: {type(error).__name__}: {error}")
