"""How long `import metapo` and `metapo --help` take, against the interpreter alone and against pydantic alone.

Every number is the median of fresh processes, the four taking turns so that a busy machine slows all alike.
Ends with an error if either of ours loads a heavy module.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

HEAVY = ("torch", "transformers", "trl", "datasets", "matplotlib", "fastapi")
N_ROUNDS = 11
METAPO = str(Path(sys.executable).with_name("metapo"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import pydantic": [sys.executable, "-c", "import pydantic; pydantic.BaseModel"],
    "import metapo": [sys.executable, "-c", "import metapo"],
    "metapo --help": [METAPO, "--help"],
}
LOADED_BY = {
    "import metapo": "import metapo",
    "metapo --help": "from metapo.cli import main; main(['--help'], standalone_mode=False)",
}


def main() -> int:
    time_once(COMMANDS["metapo --help"])  # writes the bytecode files
    seconds = measure(COMMANDS)
    python_s, pydantic_s = seconds["python -c pass"], seconds["import pydantic"]
    print(f"{'':<16} {'median ms':>10} {'x python':>9} {'x pydantic':>11}   (of {N_ROUNDS} fresh processes)")
    for name, value in seconds.items():
        print(f"{name:<16} {1000 * value:>10.0f} {value / python_s:>9.1f} {value / pydantic_s:>11.2f}")
    heavy = {name: heavy_modules(code) for name, code in LOADED_BY.items()}
    for name, modules in heavy.items():
        print(f"{name} loads of {', '.join(HEAVY)}: {', '.join(modules) or 'none'}")
    return 1 if any(heavy.values()) else 0


def measure(commands: dict[str, list[str]]) -> dict[str, float]:
    rounds = [{name: time_once(command) for name, command in commands.items()} for _ in range(N_ROUNDS)]
    return {name: statistics.median(each[name] for each in rounds) for name in commands}


def time_once(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def heavy_modules(code: str) -> list[str]:
    code += f"\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stderr.split()


if __name__ == "__main__":
    sys.exit(main())
