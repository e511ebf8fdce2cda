"""What the fork that compares may do, tried from inside: each attempt ends it."""

import subprocess
import sys

import pytest

START = "import sys; from metapo.answers.worker import _guard; sys.addaudithook(_guard); print('in', flush=True); "


@pytest.mark.parametrize(
    "attempt",
    [
        "import os; os.system('true')",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "open('/dev/null', 'w')",
        "import os; os.open('/dev/null', os.O_RDWR)",
        "import os; os.remove('/nowhere')",
        "eval('1+1')",
        "exec('from os import *')",
        "eval('Integer (1).__class__')",
    ],
)
def test_a_fork_ends_where_it_reaches_out(attempt: str) -> None:
    run = subprocess.run([sys.executable, "-c", START + attempt + "; print('out')"], capture_output=True, text=True)
    assert (run.stdout, run.returncode) == ("in\n", 2)


def test_reading_and_numbers_are_allowed() -> None:
    code = "import sympy; " + START + "open('/dev/null').close(); print(sympy.Number('2.5') + sympy.Number('3'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("in\n5.5")


def test_memory_and_time_are_the_kernels_to_bound() -> None:
    code = "import os; from metapo.answers.worker import _confine; _confine(1, 400); "
    much = subprocess.run([sys.executable, "-c", code + "bytearray(500 * 2**20)"], capture_output=True)
    some = subprocess.run([sys.executable, "-c", code + "bytearray(50 * 2**20)"], capture_output=True)
    long = subprocess.run([sys.executable, "-c", code + "9 ** 9 ** 9"], capture_output=True)
    assert (much.returncode, some.returncode) == (1, 0)
    assert long.returncode < 0
