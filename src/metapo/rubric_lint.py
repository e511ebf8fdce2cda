"""Advice on a valid rubric: what makes judges err, although nothing forbids it."""

from metapo.rubric import Criterion, Rubric

MAX_CRITERIA = 12
MAX_WORDS = 1500


def lint(rubric: Rubric) -> list[str]:
    """One line of advice per finding, in the order of the rubric; empty for a rubric that needs none."""
    findings = [advice for criterion in rubric.criteria for advice in _lint_criterion(criterion)]
    for i, first in enumerate(rubric.criteria):
        for second in rubric.criteria[i + 1 :]:
            if first.levels == second.levels:
                findings.append(
                    f"{second.id}: has the same levels as {first.id}; two criteria that judge the same count it twice"
                )
    if len(rubric.criteria) > MAX_CRITERIA:
        findings.append(f"{len(rubric.criteria)} criteria; judges keep apart about {MAX_CRITERIA} at most")
    if rubric.n_words > MAX_WORDS:
        findings.append(f"{rubric.n_words} words, more than {MAX_WORDS}: every judgement pays for them")
    return findings


def _lint_criterion(criterion: Criterion) -> list[str]:
    findings = []
    descriptions = [level.description.lower() for level in criterion.levels]
    if len(set(descriptions)) < len(descriptions):
        findings.append(f"{criterion.id}: two levels have the same description; no judge can tell them apart")
    if not any(level.example for level in criterion.levels):
        findings.append(f"{criterion.id}: no level has an example; one on the best and the worst level helps a judge")
    if all(len(d.split()) <= 2 for d in descriptions):
        findings.append(
            f"{criterion.id}: levels of one or two words leave an impression to the judge; say what to look for"
        )
    return findings
