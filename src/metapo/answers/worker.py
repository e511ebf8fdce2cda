"""The process that compares answers: `python -m metapo.answers.worker CPU_S MEMORY_MB`.

It reads one JSON pair per line and answers each with one line. Every pair is compared in a fork of its own, which the
kernel stops where it takes too much time or memory, so that nothing of one pair reaches the next and the libraries are
loaded once. A fork may open no file to write, no connection and no program, and compile no text: sympy makes a number
with `eval`, so that what it may compile is listed.
"""

import json
import logging
import os
import re
import resource
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

EQUAL, DIFFERENT, GAVE_UP, READY = "equal", "different", "gave up", "ready"
RECURSION = 20_000
WARM_UP = (
    (r"\frac{1}{2}x^2+\sqrt{3}-\pi", "x^{2}<3"),
    ("2.5", r"\sqrt[3]{5}"),
    (r"\log_2 3+\sin x", r"5!+\binom{4}{2}"),
)
LATE = ("manualintegrate", "heurisch", "risch", "prde")  # else a fork would import them, and dataclasses compile texts
FORBIDDEN = (
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "shutil.",
    "pty.",
    "webbrowser.",
    "urllib.",
    "ftplib.",
    "pickle.",
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
HARMLESS = ("os.listdir", "os.scandir")
COMPILED = re.compile(
    rb"from sympy import \*|((Integer|Float) *\([\d.e+' -]*\) */? *)+|def monomial_\w+\([ABk, ]+\):.*", re.DOTALL
)


def main(cpu_s: int, memory_mb: int) -> None:
    logging.disable()
    sys.setrecursionlimit(RECURSION)
    sys.dont_write_bytecode = True  # what a fork imports it would write
    from metapo.answers.comparing import equal

    for name in LATE:
        import_module(f"sympy.integrals.{name}")
    for predicted, reference in WARM_UP:  # the parser builds its tables as it meets what they are for
        equal(predicted, reference)
    out = os.dup(1)
    os.dup2(2, 1)
    _say(out, READY)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _compare(line, equal, out, cpu_s, memory_mb)
        _, status = os.waitpid(child, 0)
        if status:
            _say(out, GAVE_UP)


def _compare(line: str, equal: Callable[[str, str], bool], out: int, cpu_s: int, memory_mb: int) -> None:
    """In the fork. Doesn't return; ends with 0 only after it has answered."""
    try:
        _confine(cpu_s, memory_mb)
        predicted, reference = json.loads(line)
        _say(out, EQUAL if equal(predicted, reference) else DIFFERENT)
        os._exit(0)
    finally:
        os._exit(1)


def _confine(cpu_s: int, memory_mb: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_guard)


def _guard(event: str, args: tuple[Any, ...]) -> None:
    writes = event == "open" and (set(args[1] or "") & set("wax+") or args[2] & WRITING)
    compiles = event == "compile" and args[1] == "<string>" and not COMPILED.fullmatch(_source(args[0]))
    if writes or compiles or (event.startswith(FORBIDDEN) and event not in HARMLESS):
        os._exit(2)


def _source(text: object) -> bytes:
    return text.encode(errors="replace") if isinstance(text, str) else text if isinstance(text, bytes) else b"?"


def _say(out: int, word: str) -> None:
    os.write(out, f"{word}\n".encode())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
