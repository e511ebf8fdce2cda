"""Whether two mathematical answers are equal, however hostile they are: bounded in size, time and memory.

A completion is written by a policy that is rewarded for what comes out here, and math-verify's own time limit is a
signal that only a main thread can get and that interrupts no arithmetic. So the comparison runs in another process.
"""

import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock
from time import monotonic
from types import TracebackType

from metapo.answers.boxed import boxed_answer, holds_box
from metapo.errors import MissingExtra, RunError

MAX_CHARS = 1000
MAX_DEPTH = 30
CPU_S = 2
MEMORY_MB = 512
START_S = 300.0
WALL_PER_CPU = 20


class Why(StrEnum):
    """What the answer to "are they equal?" rests on."""

    EQUAL = "equal"
    DIFFERENT = "different"
    NO_ANSWER = "no answer"
    """There is nothing to compare: an empty text, or a box that is empty or not closed."""
    TOO_LONG = "too long"
    TOO_NESTED = "too nested"
    GAVE_UP = "gave up"
    """The comparison took too much time or memory, or failed."""


@dataclass(frozen=True)
class Equality:
    why: Why

    @property
    def equal(self) -> bool:
        return self.why is Why.EQUAL


class Comparer:
    """Compares answers in one other process, which starts with the first pair that needs it. Usable from any thread;
    one pair at a time. Close it, or use it as a context."""

    def __init__(self, cpu_s: int = CPU_S, memory_mb: int = MEMORY_MB) -> None:
        self._limits = (cpu_s, memory_mb)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()  # a pair and its answer belong together

    def compare(self, predicted: str | None, reference: str) -> Equality:
        """Two answers in LaTeX or as people type them. A text that holds a box stands for what its last box holds.

        What can't be compared is not equal, and `why` tells. Raises MissingExtra, and RunError where the process can't
        start.
        """
        mine, theirs = _answer(predicted), _answer(reference)
        if mine is None or theirs is None:
            return Equality(Why.NO_ANSWER)
        if mine == theirs:
            return Equality(Why.EQUAL)
        if excess := excess_of(mine) or excess_of(theirs):
            return Equality(excess)
        with self._lock:
            return Equality(self._ask(mine, theirs))

    def start(self) -> None:
        """Start the process now, so that what it lacks shows. Raises MissingExtra, RunError."""
        with self._lock:
            self._running()

    def close(self) -> None:
        with self._lock:
            self._stop()

    def __enter__(self) -> "Comparer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, predicted: str, reference: str) -> Why:
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([predicted, reference]).encode() + b"\n")
            said = _line(process, self._limits[0] * WALL_PER_CPU)
        except BaseException:
            self._stop()  # or the next pair would get this one's answer
            raise
        if said is None:
            self._stop()
            return Why.GAVE_UP
        return Why(said)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._stop()
        if importlib.util.find_spec("math_verify") is None:
            raise MissingExtra("math", "comparing mathematical answers")
        command = [sys.executable, "-m", "metapo.answers.worker", *map(str, self._limits)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        if _line(self._process, START_S) is None:
            self._stop()
            raise RunError(f"the process that compares answers did not start: {' '.join(command)} shows why")
        return self._process

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # it leads its own group: a pair at work ends with it
        process.communicate()


def excess_of(answer: str) -> Why | None:
    """Why an answer is too large to be compared; None where it isn't."""
    if len(answer) > MAX_CHARS:
        return Why.TOO_LONG
    return Why.TOO_NESTED if _depth(answer) > MAX_DEPTH else None


def _answer(text: str | None) -> str | None:
    if text is None or not text.strip():
        return None
    return boxed_answer(text) if holds_box(text) else text.strip()


def _depth(text: str) -> int:
    """How deep brackets of any kind nest."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _line(process: subprocess.Popen[bytes], timeout_s: float) -> str | None:
    """The next line that it writes, None if it ends or takes longer."""
    assert process.stdout is not None
    said, end = b"", monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not said.endswith(b"\n"):
            if not selector.select(max(0.0, end - monotonic())):
                return None
            if not (part := os.read(process.stdout.fileno(), 4096)):
                return None
            said += part
    return said.decode().strip()
