"""Build llama-server and write the tiny model that the tests serve with it, both into the cache: `make llama-server`.

The sources are those inside llama-cpp-python's source package on PyPI, which pip fetches and checks. Needs cmake and a
C++ compiler; takes about nine minutes of CPU time once. The model is written anew each time.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.real.servers import LLAMA, LLAMA_CPP_PYTHON
from tests.real.tiny_gguf import write_tiny_gguf

SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "GGML_OPENMP": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # would be downloaded while building
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
}


def main() -> int:
    if not (LLAMA / "llama-server").exists() or not (LLAMA / "gguf").exists():
        if missing := missing_tools():
            print(f"missing: {', '.join(missing)}. On Debian: apt-get install cmake g++", file=sys.stderr)
            return 1
        with tempfile.TemporaryDirectory() as folder:
            build(fetch(Path(folder)), Path(folder) / "build")
    write_tiny_gguf(LLAMA / "tiny.gguf", gguf_package=LLAMA)
    print(f"llama-server and tiny.gguf are in {LLAMA}")
    return 0


def missing_tools() -> list[str]:
    compilers = [os.environ.get("CXX", "c++"), "g++", "clang++"]
    compiler = [] if any(map(shutil.which, compilers)) else ["a C++ compiler"]
    return ([] if shutil.which("cmake") else ["cmake"]) + compiler


def fetch(folder: Path) -> Path:
    """The unpacked sources of llama.cpp."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"llama-cpp-python=={LLAMA_CPP_PYTHON} --hash=sha256:{SHA256}\n")
    print(f"fetching llama-cpp-python {LLAMA_CPP_PYTHON} (77 MB)", flush=True)
    pip = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", "llama-cpp-python"]
    subprocess.run([*pip, "--requirement", wanted, "--dest", folder], check=True)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"


def build(sources: Path, folder: Path) -> None:
    """Compile, and put the binary and the package that writes models into the cache."""
    n_jobs = len(os.sched_getaffinity(0))
    print(f"compiling llama-server with {n_jobs} jobs; its output is in {folder}.log", flush=True)
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    steps = (
        ["cmake", "-S", sources, "-B", folder, *options],
        ["cmake", "--build", folder, "--target", "llama-server", "--parallel", str(n_jobs)],
    )
    log = folder.with_suffix(".log")
    for step in steps:
        with log.open("ab") as output:
            run = subprocess.run(step, stdout=output, stderr=subprocess.STDOUT)
        if run.returncode:
            raise SystemExit(f"{log.read_text(errors='replace')[-4000:]}\nllama-server can't be built here: see above")
    LLAMA.mkdir(parents=True, exist_ok=True)
    shutil.copytree(sources / "gguf-py" / "gguf", LLAMA / "gguf", dirs_exist_ok=True)
    shutil.copy2(folder / "bin" / "llama-server", LLAMA / "llama-server.new")
    (LLAMA / "llama-server.new").rename(LLAMA / "llama-server")


if __name__ == "__main__":
    sys.exit(main())
