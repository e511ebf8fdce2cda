"""The runs that are shown: where they lie, and what is kept of each in memory."""

import re
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import yaml

from metapo.errors import RunError, RunInUse, StoreOutdated
from metapo.files import hold
from metapo.rubric import Revision, Rubric
from metapo.run import LOCK, METRICS, POLICY, SETTINGS, STORE
from metapo.store import Store
from metapo.viewing.figures import Figures, RunRows, StoreRows

TRAINS_S = 120.0  # what wrote within that time is taken to go on
T = TypeVar("T")
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Viewed:
    """One run. Its store is read, never written; what it remembers of it never changes there."""

    def __init__(self, name: str, store: Store, folder: Path | None, place: Path | str) -> None:
        self.name = name
        self.store = store
        self.folder = folder
        self.place = place
        """What opens the store to write."""
        self.figures = Figures(RunRows(folder / METRICS, store) if folder else StoreRows(store))
        self.settled = Settled()
        self._revisions: dict[str, Revision] = {}
        self._settings: dict[str, Any] | None = None
        self._remembered: dict[Hashable, tuple[object, object]] = {}
        self._lock = Lock()

    @property
    def where(self) -> str:
        """For people: the folder, or the URL without its password."""
        return str(self.folder) if self.folder else self.store.name

    def revision(self, revision_id: str) -> Revision:
        """Raises LineageError."""
        if revision_id not in self._revisions:
            self._revisions[revision_id] = self.store.revision(revision_id)
        return self._revisions[revision_id]

    def rubric(self, revision_id: str) -> Rubric:
        return self.revision(revision_id).rubric

    def remembered(self, what: Hashable, compute: Callable[[], T]) -> T:
        """What follows from lineage and acts alone: computed anew only where there are new rows. Raises StoreError."""
        state = self.store.lineage_state()
        with self._lock:
            known = self._remembered.get(what)
        if known is not None and known[0] == state:
            return cast(T, known[1])
        found = compute()
        with self._lock:
            self._remembered[what] = (state, found)
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """As they were resolved when the run began; empty where they are not on record."""
        if self._settings is None:
            text = self.store.served()
            if text is None and self.folder and (self.folder / SETTINGS).is_file():
                text = (self.folder / SETTINGS).read_text(encoding="utf-8")
            found = yaml.load(text, _LOADER) if text else None
            self._settings = found if isinstance(found, dict) else {}
        return self._settings

    @property
    def written_at(self) -> float | None:
        """When it last wrote, in seconds since the epoch; None where nobody knows."""
        if self.store.path is None:
            return self._told_at()
        known = [self.store.path, self.store.path.with_name(f"{self.store.path.name}-wal")]
        known += [self.folder / METRICS] if self.folder else []
        times = [path.stat().st_mtime for path in known if path.exists()]
        return max(times, default=None)

    @property
    def is_finished(self) -> bool:
        return self.folder is not None and (self.folder / POLICY).is_dir()

    @property
    def is_training(self) -> bool:
        return self.written_at is not None and time.time() - self.written_at < TRAINS_S

    def _told_at(self) -> float | None:
        told = self.store.last_told()
        return datetime.fromisoformat(told).timestamp() if told else None


class Settled:
    """What was computed of steps that don't change any more, by step; forgotten where rows were superseded."""

    def __init__(self) -> None:
        self._generation = ""
        self._known: dict[Hashable, dict[int, Any]] = {}

    def of(self, generation: str, what: Hashable) -> dict[int, Any]:
        if generation != self._generation:
            self._generation, self._known = generation, {}
        return self._known.setdefault(what, {})


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def open_runs(places: Iterable[Path | str]) -> list[Viewed]:
    """The runs at these places: folders, folders of such, and URLs of stores. Raises RunError, StoreError."""
    found: list[Path | str] = []
    for place in places:
        found += [place] if isinstance(place, str) else _folders(place)
    opened: list[Viewed] = []
    try:
        for place in dict.fromkeys(found):
            store = open_to_read(place)
            said = place if isinstance(place, str) else place.resolve().name
            name = name_of(said, {run.name for run in opened})
            folder = place if isinstance(place, Path) else None
            opened.append(Viewed(name, store, folder, place if isinstance(place, str) else place / STORE))
    except BaseException:
        close(opened)
        raise
    return opened


def close(runs: Sequence[Viewed]) -> None:
    for run in runs:
        run.store.close()


def open_to_read(place: Path | str) -> Store:
    """The store of a run folder, or at a URL. One of an older schema is brought to this version's where it is certain
    that nobody else has it open. Raises RunError, StoreError."""
    where = place if isinstance(place, str) else place / STORE
    try:
        return Store(where, reads_only=True)
    except StoreOutdated as e:
        _bring_up_to_date(place, where, e)
        return Store(where, reads_only=True)


def _bring_up_to_date(place: Path | str, where: Path | str, error: StoreOutdated) -> None:
    """Raises StoreOutdated where that could stop somebody else."""
    if isinstance(place, str) or not (place / METRICS).exists():
        raise StoreOutdated(
            f"{error}. If nothing writes to it any more, bring it up to date with: metapo rubric log {place}"
            if isinstance(place, Path)
            else f"{error}. If nothing writes to it any more, bring it up to date with metapo rubric log and its URL"
        ) from error
    try:
        lock = hold(place / LOCK, f"the run folder {place}")
    except (RunInUse, RunError) as e:
        raise StoreOutdated(
            f"{error}. {place} is being written: look at it with the version that trains it, or when that has ended"
        ) from e
    with closing(Store(where)):
        lock.release()


def _folders(place: Path) -> list[Path | str]:
    """The run in a folder, or the runs in the folders inside. Raises RunError."""
    if (place / STORE).is_file():
        return [place]
    inside: list[Path | str] = sorted(path.parent for path in place.glob(f"*/{STORE}")) if place.is_dir() else []
    if inside:
        return inside
    if (place / SETTINGS).is_file():
        raise RunError(f"{place} has no {STORE}. Where the run was served with --store, give that URL in its place.")
    raise RunError(
        f"{place} holds no run: there is no {place / STORE}. Give the folder of a run, or the URL of a store."
    )


def name_of(place: str, taken: Collection[str] = ()) -> str:
    """A run's name in addresses: its folder's; that of a URL's schema or database. It isn't one of those `taken`."""
    schema = re.search(r"search_path(?:=|%3D)([^&]+)", place, re.IGNORECASE)
    said = schema[1] if schema else re.sub(r"[?#].*", "", place).rstrip("/").rpartition("/")[2]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", said).strip("-._")[:56] or "run"
    names = (stem, *(f"{stem}-{n}" for n in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
