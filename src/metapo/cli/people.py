"""metapo rubric waiting, approve, reject, edit, pin, unpin, anchor and acts: what people decide about a run's rubric.

A decision is written into the run's store, where the run finds it, also while it trains.
"""

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from metapo.cli.common import FILE, PLACE, counted, load_rubric, open_store, run_name
from metapo.errors import SettingsError

if TYPE_CHECKING:
    from metapo.meta.pairs import Pair
    from metapo.store import ActKind, ActRecord, AnchorRecord, MetaStepRecord, Store


def _said(_context: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise click.BadParameter("it must say something")
    return value


def _decides(command: Callable[..., None]) -> Callable[..., None]:
    """The options of all that goes on record."""
    command = click.option(
        "--by", callback=_said, help="Who decides, for the record (default: the user's login name)."
    )(command)
    return click.option("--why", required=True, callback=_said, help="The reason, for the record.")(command)


_in_cluster = click.option("--cluster", help="For this cluster of prompts alone (default: all).")


# --- what waits


@click.command()
@click.argument("run", type=PLACE)
def waiting(run: Path | str) -> None:
    """Print the revisions that wait for approval (meta.approve: manual): why they were proposed, what the gate
    measured, and how to see the difference."""
    from metapo.people import clusters_of, waiting_in

    with _opened(run) as store:
        found = [one for cluster in clusters_of(store) for one in waiting_in(store, cluster)]
        for one in found:
            _show_waiting(store, one)
    click.echo(f"{counted(len(found), 'revision waits', 'revisions wait')} for approval" if found else "nothing waits")


def _show_waiting(store: "Store", record: "MetaStepRecord") -> None:
    from metapo.people import foreseen_in
    from metapo.store import ActKind

    child = record.child
    assert child is not None
    of = f" for cluster {record.cluster}" if record.cluster else ""
    click.echo(f"{child.short_id}  proposed after step {record.step}{of} ({record.why}): {child.reason}")
    findings = [f for p in record.proposals if p.revision.id == child.id for f in p.findings]
    for finding in findings:
        click.echo(f"  {finding.gate_check}: {finding.detail}")
    if not findings:
        click.echo("  there is no gate, so nothing was measured")
    approval = _act(ActKind.APPROVE, who="", why="", about=child.id)
    if (foreseen := foreseen_in(store, approval, record.cluster)).child is None:
        click.echo(f"  approved as things stand, {foreseen.outcome}")
    run = run_name(store)
    click.echo(f"  to see it: metapo rubric diff {run}@{record.parent_id[:10]} {run}@{child.short_id}")


# --- decisions


@click.command()
@click.argument("run", type=PLACE)
@click.argument("revision", callback=_said)
@_decides
@_in_cluster
def approve(run: Path | str, revision: str, why: str, by: str | None, cluster: str | None) -> None:
    """Put REVISION, which waits for approval, in force."""
    from metapo.store import ActKind

    _decide(run, revision, ActKind.APPROVE, why, by, cluster)


@click.command()
@click.argument("run", type=PLACE)
@click.argument("revision", callback=_said)
@_decides
@_in_cluster
def reject(run: Path | str, revision: str, why: str, by: str | None, cluster: str | None) -> None:
    """Decide against REVISION, which waits for approval."""
    from metapo.store import ActKind

    _decide(run, revision, ActKind.REJECT, why, by, cluster)


def _decide(run: Path | str, revision: str, kind: "ActKind", why: str, by: str | None, cluster: str | None) -> None:
    from metapo.people import find_waiting

    with _opened(run) as store:
        about, cluster = find_waiting(store, revision, cluster)
        _note(store, _act(kind, who=_who(by), why=why, about=about, cluster=cluster))


@click.command()
@click.argument("run", type=PLACE)
@click.argument("source")
@click.option("--about", metavar="REVISION", help="The waiting revision that this is an edit of; it waits no longer.")
@_decides
@_in_cluster
def edit(run: Path | str, source: str, about: str | None, why: str, by: str | None, cluster: str | None) -> None:
    """Put the rubric SOURCE (a file, or RUN@REVISION) in force. The gate isn't asked; pinned criteria go, too, where
    SOURCE lacks them."""
    from metapo.people import find_waiting
    from metapo.store import ActKind

    written = load_rubric(source, strict=True)
    with _opened(run) as store:
        if about is not None:
            about, cluster = find_waiting(store, about, cluster)
        _note(store, replace(_act(ActKind.EDIT, who=_who(by), why=why, about=about, cluster=cluster), rubric=written))


@click.command()
@click.argument("run", type=PLACE)
@click.argument("criterion")
@_decides
@_in_cluster
def pin(run: Path | str, criterion: str, why: str, by: str | None, cluster: str | None) -> None:
    """Pin the criterion with the id CRITERION: no meta step may change it or take it out."""
    from metapo.store import ActKind

    _set_pin(run, criterion, ActKind.PIN, why, by, cluster)


@click.command()
@click.argument("run", type=PLACE)
@click.argument("criterion")
@_decides
@_in_cluster
def unpin(run: Path | str, criterion: str, why: str, by: str | None, cluster: str | None) -> None:
    """Leave the criterion with the id CRITERION to meta steps again."""
    from metapo.store import ActKind

    _set_pin(run, criterion, ActKind.UNPIN, why, by, cluster)


def _set_pin(run: Path | str, criterion: str, kind: "ActKind", why: str, by: str | None, cluster: str | None) -> None:
    with _opened(run) as store:
        _note(store, replace(_act(kind, who=_who(by), why=why, cluster=cluster), criterion=criterion))


def _act(kind: "ActKind", *, who: str, why: str, about: str | None = None, cluster: str | None = None) -> "ActRecord":
    from metapo.people import now
    from metapo.store import ActRecord

    return ActRecord(kind, who, why, now(), cluster, about)


def _note(store: "Store", act: "ActRecord") -> None:
    """Raises ActRefused."""
    from metapo.people import WHEN, note, told

    click.echo(f"act {note(store, act)}: {told(act)}. {WHEN}")


# --- pairs of known order


@click.command()
@click.argument("run", type=PLACE)
@click.argument("file", type=FILE, required=False)
@click.option("--prompt", callback=_said, help="A prompt.")
@click.option("--better", callback=_said, help="A completion of it.")
@click.option("--worse", callback=_said, help="A completion of it that is worse.")
@_decides
def anchor(
    run: Path | str,
    file: Path | None,
    prompt: str | None,
    better: str | None,
    worse: str | None,
    why: str,
    by: str | None,
) -> None:
    """Pin completions whose order you know, one pair or a FILE of them: no proposal passes the gate that orders them
    worse than its parent.

    FILE holds JSON lines with prompt, better and worse, or labelled completions with prompt, completion and score; why
    and reference may stand in a line.
    """
    from metapo.people import pin_pairs

    pairs = _pairs(file, prompt, better, worse, why)
    with _opened(run) as store:
        n_new = pin_pairs(store, pairs, _who(by))
    known = f", {counted(len(pairs) - n_new, 'pair was', 'pairs were')} known" if n_new < len(pairs) else ""
    click.echo(f"{counted(n_new, 'pair')} pinned{known}. The next meta step that begins measures by them.")


def _pairs(file: Path | None, prompt: str | None, better: str | None, worse: str | None, why: str) -> "list[Pair]":
    """Raises DataError, or click's own for a wrong call."""
    from metapo.anchors import load_anchors, pair_of

    if file is not None and prompt is better is worse is None:
        return load_anchors(file, why)
    if file is not None or prompt is None or better is None or worse is None:
        raise click.UsageError("give either FILE, or --prompt, --better and --worse")
    return [pair_of({"prompt": prompt}, better, worse, why)]


# --- the record


class _Entry(NamedTuple):
    """Something that people did, and what came of it."""

    done_at: str
    told: str
    why: str
    outcomes: list[str]


@click.command()
@click.argument("run", type=PLACE)
def acts(run: Path | str) -> None:
    """Print what people decided, when and why, and what came of it."""
    with _opened(run) as store:
        entries = sorted([*_decided(store), *_anchored(store)], key=lambda entry: entry.done_at)
    for entry in entries:
        click.echo(f"{entry.done_at}  {entry.told}: {entry.why}")
        for outcome in entry.outcomes:
            click.echo(f"  {outcome}")
    if not entries:
        click.echo("nobody has decided anything yet")


def _decided(store: "Store") -> list[_Entry]:
    from metapo.people import told

    outcomes: dict[int, list[str]] = {}
    for number, cluster, step, outcome in store.outcomes_of_acts():
        only = f", cluster {cluster}" if cluster else ""
        outcomes.setdefault(number, []).append(f"after step {step}{only}: {outcome}")
    return [
        _Entry(act.done_at, f"act {act.id}: {told(act)}", act.why, outcomes.get(act.id, ["not taken yet"]))
        for act in store.acts()
    ]


def _anchored(store: "Store") -> list[_Entry]:
    """One entry for the pairs that were pinned together."""
    from metapo.people import pinned

    together: dict[tuple[str, str], list[AnchorRecord]] = {}
    for one in pinned(store):
        together.setdefault((one.added_at, one.who), []).append(one)
    return [
        _Entry(
            at, f"{counted(len(pairs), 'pair')} pinned, by {who}", "; ".join(dict.fromkeys(p.why for p in pairs)), []
        )
        for (at, who), pairs in together.items()
    ]


# --- what the commands share


@contextmanager
def _opened(run: Path | str) -> "Iterator[Store]":
    store = open_store(run)
    try:
        yield store
    finally:
        store.close()


def _who(by: str | None) -> str:
    try:
        return by or getpass.getuser()
    except (OSError, KeyError) as e:  # a user without a name, as in some containers
        raise SettingsError("the system doesn't know your login name: say who decides with --by") from e


PEOPLE = (waiting, approve, reject, edit, pin, unpin, anchor, acts)
