"""Is this machine fit for the run: Python, packages, GPU, memory, disk, open files, clocks, the store?"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.metadata import requires as requires_of
from pathlib import Path

from packaging.requirements import Requirement

from metapo.errors import MetapoError, MissingExtra, ModelError, StoreError
from metapo.files import hold
from metapo.judge.endpoint import Endpoint, LocalSettings
from metapo.preflight.found import Found, ok, problem, warning
from metapo.run import LOCK, SETTINGS
from metapo.settings import Settings, TrainSettings

LEAST_FREE = 2 * 2**30  # bytes of disk, where nobody knows how large the policy is
ADAM = 4  # times the weights in 32 bits: themselves, their gradients and Adam's two moments
SPARE_FILES = 200  # of this process: libraries, the store, the trainer
SKEW_S = 60.0
LEAST_YEAR = 2025  # a clock that never was set tells less


def packages(settings: Settings | None) -> Iterator[Found]:
    """Python, and the packages of each extra that the settings need."""
    yield ok("python", f"{sys.version.split()[0]} in {sys.prefix}")
    for extra in _extras(settings):
        lacking = [str(need) for need in _needs(extra) if not _is_met(need)]
        have = ", ".join(f"{need.name} {version(need.name)}" for need in _needs(extra) if _is_met(need))
        if lacking:
            yield problem(f"extra {extra}", f"lacks {', '.join(lacking)}: pip install 'metapo[{extra}]'")
        else:
            yield ok(f"extra {extra}", have)
    others = [e for e in ("trl", "ppo", "verl", "server", "postgres") if e not in _extras(settings)]
    missing = [extra for extra in others if not all(map(_is_met, _needs(extra)))]
    if missing:
        yield ok("other extras", f"not installed, and not needed by these settings: {', '.join(missing)}")


def devices(settings: TrainSettings) -> Iterator[Found]:
    """GPUs and memory, held against what the policy's weights need."""
    try:
        from metapo.engines.machine import gpus
    except MissingExtra as e:
        yield problem("device", e)
        return
    size, found = _size(settings), gpus() if settings.engine.device == "auto" else []
    for i, gpu in enumerate(found):
        yield ok(f"gpu {i}", f"{gpu.name}, {_gb(gpu.free)} of {_gb(gpu.total)} free")
    if not found and settings.engine.device == "auto":
        yield warning(
            "gpu",
            "torch sees none: the policy trains on the CPU, slowly. See nvidia-smi, and that torch is a CUDA build",
        )
    free = min((gpu.free for gpu in found), default=_free_memory())
    needed = _needed_memory(settings, size)
    where = "GPU" if found else "machine"
    if needed is None:
        yield ok("memory", f"{_gb(free)} free; how large {settings.policy.model} is, is known once it is here")
    elif needed > free:
        yield warning(
            "memory",
            f"training takes some {_gb(needed)} besides activations, the {where} has {_gb(free)} free: use "
            "policy.lora, a smaller policy, or several processes (docs/processes.md)",
        )
    else:
        yield ok("memory", f"{_gb(free)} free, training takes some {_gb(needed)} besides activations")


def places(settings: Settings, out: Path | None, store: str | None) -> Iterator[Found]:
    """The run's folder and what lies there, disk, open files, and the store on a server."""
    if out is not None:
        yield _folder(out)
        yield _disk(settings, out)
    yield _open_files(settings)
    if store is not None:
        yield from _server(store)


def clock() -> Found:
    """A clock that was never set breaks TLS, and what is on record."""
    now = time.localtime()
    told = time.strftime("%Y-%m-%d %H:%M %Z", now)
    return ok("clock", told) if now.tm_year >= LEAST_YEAR else problem("clock", f"it says {told}: set it")


# --- packages


def _extras(settings: Settings | None) -> list[str]:
    """The extras that the settings need, by their names in pyproject.toml."""
    needed = []
    if isinstance(settings, TrainSettings):
        needed.append("ppo" if settings.engine.algorithm == "ppo" else "trl")
        needed += ["lora"] if settings.policy.lora else []
        needed += {"math": ["math"], "summarization": ["eval"]}.get(settings.task, [])
    if settings and any(isinstance(endpoint, LocalSettings) for endpoint in endpoints(settings)):
        needed.append("local")
    return needed


def endpoints(settings: Settings) -> list[Endpoint]:
    """All that the settings name."""
    panel = settings.panel.judges if settings.panel else ()
    monitor = (settings.monitor.judge,) if settings.monitor else ()
    meta = (settings.meta.endpoint,) if settings.meta.endpoint else ()
    return [settings.judge, *panel, *monitor, *meta]


def _needs(extra: str) -> list[Requirement]:
    """The packages of an extra, with those of the extras that it includes."""
    declared = [Requirement(text) for text in requires_of("metapo") or ()]
    asked = [need for need in declared if need.marker and need.marker.evaluate({"extra": extra})]
    included = [need for other in asked if other.name == "metapo" for e in sorted(other.extras) for need in _needs(e)]
    return [*included, *(need for need in asked if need.name != "metapo")]


def _is_met(need: Requirement) -> bool:
    try:
        return need.specifier.contains(version(need.name), prereleases=True)
    except PackageNotFoundError:
        return False


# --- memory


def _size(settings: TrainSettings) -> int | None:
    """Bytes of the policy's weights; None where nobody tells them."""
    try:
        from metapo.engines.machine import weights_bytes

        return weights_bytes(settings.policy.model)
    except (MissingExtra, ModelError):  # told with the packages, and with the prompts
        return None


def _needed_memory(settings: TrainSettings, size: int | None) -> int | None:
    """Bytes, at least: TRL loads weights in 32 bits; an adapter leaves them as they are."""
    if size is None:
        return None
    return size if settings.policy.lora else 2 * size * ADAM


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not on every system
        return 0


def _gb(n: float) -> str:
    return f"{n / 1e9:.1f} GB"


# --- places


def _folder(out: Path) -> Found:
    if (out / SETTINGS).exists():
        return problem("folder", f"{out} holds a run already: go on with --resume {out}, or choose another --out")
    there = _nearest(out)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        if (out / LOCK).exists():
            hold(out / LOCK, f"the run folder {out}").release()
    except OSError as e:
        return problem("folder", f"can't write {there}: {e.strerror}. Fix its permissions, or choose another --out")
    except MetapoError as e:
        return problem("folder", e)
    return ok("folder", f"{out} can be written")


def _nearest(out: Path) -> Path:
    """The folder itself, or the one above it that is there."""
    return next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())


def _disk(settings: Settings, out: Path) -> Found:
    free = shutil.disk_usage(_nearest(out)).free
    needed = LEAST_FREE
    if isinstance(settings, TrainSettings) and not settings.policy.lora and (size := _size(settings)):
        # a checkpoint has the weights and Adam's moments; one more is there while the oldest is removed
        needed += (settings.engine.keep_checkpoints + 1) * 3 * 2 * size + size
    told = f"{_gb(free)} free in {out}, checkpoints and policy take some {_gb(needed)}"
    if free < needed:
        return problem("disk", f"{told}: free some space, lower engine.keep_checkpoints, or choose another --out")
    return ok("disk", told)


def _open_files(settings: Settings) -> Found:
    try:
        import resource
    except ImportError:  # not on Windows
        return ok("open files", "this system tells no bound")
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = SPARE_FILES + sum(endpoint.at_once for endpoint in endpoints(settings))
    if 0 <= allowed < needed:
        return warning(
            "open files",
            f"{allowed} are allowed, {needed} may be needed: ulimit -n {2 * needed}, or lower max_in_flight",
        )
    return ok("open files", f"{allowed} are allowed, some {needed} may be needed")


def _server(url: str) -> Iterator[Found]:
    """A store's database, as it is: nothing is written into it."""
    from metapo.store.looking import look

    try:
        seen = look(url)
    except (StoreError, MissingExtra) as e:
        yield problem("store", e)
        return
    told = f"holds schema {seen.schema}" if seen.schema else "is empty"
    yield ok("store", f"{seen.name} answers, {told}; this version of metapo writes schema {seen.newest}")
    skew = abs(seen.now - time.time())
    if skew > SKEW_S:
        yield warning("clock", f"the database's clock is {skew:.0f} s away from this machine's: set both by NTP")
