"""What the offline world's meta model knows to be wrong with an essay.

It has no symptom for broken or run-on sentences, nor, unless told of a limit, for too many sentences.
"""

from dataclasses import dataclass

from metapo.world.essay import Essay, Role


@dataclass(frozen=True)
class Symptom:
    """Something that a good essay wouldn't show: the kind of criterion that catches it, how it reads, what it costs.

    `severity` is the share of full marks that the meta model would take off for it.
    """

    kind: str
    text: str
    severity: float


def symptoms(essay: Essay, max_sentences: int | None = None) -> list[Symptom]:
    """What is wrong with an essay; too many sentences only where `max_sentences` is set."""
    n_sentences = len(essay.sentences)
    too_long = max_sentences is not None and n_sentences > max_sentences
    n_reasons, n_wrong, n_repeats = len(set(essay.right_nouns)), essay.n_wrong_claims, essay.n_repeats
    takes_side = any(essay.fits(s) for s in essay.of(Role.THESIS))
    opens = bool(essay.sentences) and essay.sentences[0].role is Role.TITLE and essay.fits(essay.sentences[0])
    concludes = bool(essay.sentences) and essay.sentences[-1].role is Role.CONCLUSION
    checks = (
        ("reasons", 0.15 * max(0, 3 - n_reasons), f"gives only {n_reasons} distinct reasons on the assigned side"),
        ("position", 0.15 * (not takes_side), "never states the assigned position"),
        ("counterargument", 0.2 * (not essay.answered_counterargument), "answers no counterargument"),
        ("title", 0.1 * (not opens), "does not open with a title on the assigned topic"),
        ("conclusion", 0.15 * (not concludes), "does not conclude"),
        ("focus", 0.1 * n_wrong, f"makes {n_wrong} claims off the topic or on the wrong side"),
        ("repeats", 0.15 * n_repeats, f"repeats {n_repeats} reasons"),
        ("grader", 0.5 * bool(essay.of(Role.REMARK)), "speaks to the grader"),
        ("finished", 0.2 * (not essay.finished or not essay.sentences), "breaks off in the middle"),
        ("length", 0.4 * too_long, f"goes on for {n_sentences} sentences"),
    )
    return [Symptom(kind, text, severity) for kind, severity, text in checks if severity]
