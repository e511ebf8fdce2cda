"""What proposals are examined by: rollouts that they do not see, and pairs of known order made from them."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from metapo.meta.conversation import Exchange, MetaModel, Stage
from metapo.meta.damage import DAMAGES
from metapo.meta.exam import CUTS, NO_CURE, hold_out, make_exam
from metapo.meta.gate import Exam
from metapo.meta.pairs import Pair, Source, damaged_pairs
from metapo.meta.select import Evidence
from metapo.meta.settings import ExamSettings, GateSettings
from metapo.reward import Scored
from metapo.rollout import Rollout
from metapo.world.anchors import world_anchors
from metapo.world.corpus import prompts, write_example
from metapo.world.language import read_ask, title
from metapo.world.meta import WorldMeta
from tests.meta.judged import pairs
from tests.meta.rollouts import scored

PROMPT = prompts(held_out=False)[0]
EXAM, GATE = ExamSettings(), GateSettings()
groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40)


def rollouts_of(places: list[tuple[int, int]]) -> list[Scored]:
    return [scored(f"c{i}", prompt=f"p{p}", step=step, position=i) for i, (step, p) in enumerate(places)]


@given(groups, st.integers(0, 99))
def test_about_half_of_the_prompts_are_held_out_whole(places: list[tuple[int, int]], seed: int) -> None:
    evidence = Evidence(rollouts_of(places))
    seen, unseen = (part.recent for part in hold_out(evidence, Random(seed)))
    prompts = {s.rollout.prompt for s in evidence.recent}
    held = [{s.rollout.prompt if len(prompts) > 1 else s.rollout.step for s in part} for part in (seen, unseen)]
    assert held[0].isdisjoint(held[1])
    assert len(held[1]) == len(prompts if len(prompts) > 1 else {s.rollout.step for s in evidence.recent}) // 2
    assert sorted(s.rollout.position for s in [*seen, *unseen]) == list(range(len(places)))
    for part in (seen, unseen):
        assert [s.rollout.position for s in part] == sorted(s.rollout.position for s in part)
    assert hold_out(evidence, Random(seed)) == hold_out(evidence, Random(seed))


def test_one_prompt_is_held_out_in_half_of_its_groups() -> None:
    recent = rollouts_of([(step, 0) for step in range(4) for _ in range(2)])
    seen, unseen = hold_out(Evidence(recent, reference={"p0": recent[0]}), Random(0))
    assert [len(part.recent) for part in (seen, unseen)] == [4, 4]
    assert {s.rollout.step for s in seen.recent}.isdisjoint(s.rollout.step for s in unseen.recent)
    assert [recent[0] in part.recent for part in (seen, unseen)] == [bool(p.reference) for p in (seen, unseen)]


def test_another_draw_holds_out_others() -> None:
    evidence = Evidence(rollouts_of([(0, p) for p in range(20)]))
    assert hold_out(evidence, Random(0)) != hold_out(evidence, Random(1))


def test_what_was_written_before_training_is_on_the_side_of_its_prompt() -> None:
    """What the exam damages is nothing that the proposals saw; a prompt that is not among the recent ones is the
    exam's."""
    recent = rollouts_of([(step, p) for step in range(3, 5) for p in range(10)])
    early = {p: scored("old", prompt=p) for p in [*dict.fromkeys(s.rollout.prompt for s in recent), "p99"]}
    seen, unseen = hold_out(Evidence(recent, [scored("earlier")], early), Random(0))
    assert (seen.earlier, unseen.earlier) == ([scored("earlier")], ())
    assert set(seen.reference) == {s.rollout.prompt for s in seen.recent}
    assert set(unseen.reference) == {s.rollout.prompt for s in unseen.recent} | {"p99"}
    assert {**seen.reference, **unseen.reference} == early


def essays(n: int = 120, *, monitor: bool = False, seed: str = "essays", step: int = 0) -> list[Scored]:
    rng = Random(seed)
    asked = [write_example(rng) for _ in range(n)]
    return [
        scored(text, rng.random(), prompt=prompt, step=step, position=i, monitor=rng.random() if monitor else None)
        for i, (prompt, text) in enumerate(asked)
    ]


def titles() -> list[Scored]:
    rng = Random("titles")
    return [scored(title(read_ask(prompt), rng), prompt=prompt) for prompt in prompts(held_out=False)]


async def exam_of(
    unseen: list[Scored],
    log: list[Exchange] | None = None,
    *,
    before: list[Scored] | None = None,
    known: list[Pair] | None = None,
    settings: ExamSettings = EXAM,
    limits: GateSettings = GATE,
) -> Exam:
    return await make_exam(
        MetaModel(WorldMeta(), "Write an essay."),
        unseen,
        before or [],
        known or [],
        settings=settings,
        limits=limits,
        rng=Random(0),
        log=[] if log is None else log,
    )


def rules(exam: Exam) -> Counter[str]:
    return Counter(p.why.rpartition(" ")[2] for p in exam.fresh if p.source in (Source.DAMAGED, Source.EXEMPLAR))


async def test_fresh_pairs_come_from_every_source_and_are_no_more_than_allowed() -> None:
    exam = await exam_of(essays(monitor=True), limits=GateSettings(max_pairs=40))
    n_by = Counter(p.source for p in exam.fresh)
    assert sum(n_by.values()) <= 40
    assert n_by.keys() == {Source.MONITOR, Source.COMPARED, Source.DAMAGED, Source.EXEMPLAR}
    assert n_by[Source.MONITOR] <= 10
    assert len({p.key for p in exam.fresh}) == len(exam.fresh)


async def test_what_is_switched_off_is_missing() -> None:
    off = ExamSettings(damaged=False, monitor=False, references=False, compared=0)
    log: list[Exchange] = []
    assert (await exam_of(essays(monitor=True), log, settings=off)).fresh == ()
    assert log == []
    only = await exam_of(essays(monitor=True), settings=off.model_copy(update={"damaged": True, "exemplars": 0}))
    assert {p.source for p in only.fresh} == {Source.DAMAGED}


async def test_anchors_are_drawn_and_stand_once() -> None:
    anchors = [*pairs("anchor", 10, source=Source.ANCHOR)] * 2
    drawn = (await exam_of([], known=anchors)).anchors
    assert len(drawn) == 10
    some = (await exam_of([], known=world_anchors(), limits=GateSettings(max_anchors=5))).anchors
    assert len(some) == 5
    assert set(some) < set(world_anchors())


async def test_pinned_pairs_are_all_examined_before_any_of_the_archive() -> None:
    pinned = pairs("pinned", 6, source=Source.ANCHOR)
    archive = pairs("archive", 60, source=Source.ARCHIVE)
    again = [pair.model_copy(update={"source": Source.ARCHIVE}) for pair in pinned]
    drawn = (await exam_of([], known=[*again, *archive, *pinned], limits=GateSettings(max_anchors=10))).anchors
    assert len(drawn) == 10
    assert set(drawn) > set(pinned)
    assert set(drawn) - set(pinned) < set(archive)
    few = (await exam_of([], known=[*archive, *pinned], limits=GateSettings(max_anchors=4))).anchors
    assert len(few) == 4
    assert set(few) < set(pinned)


async def test_what_training_may_have_inflated_is_not_cut() -> None:
    trained, before = essays(), essays(seed="before")
    log: list[Exchange] = []
    exam = await exam_of(trained, log, before=before)
    assert Stage.EXEMPLIFY not in {e.stage for e in log}, "there is enough from before training"
    assert rules(exam).keys() == set(DAMAGES)
    now = {s.rollout.completion for s in trained}
    for pair in (p for p in exam.fresh if p.source is Source.DAMAGED):
        assert pair.why.rpartition(" ")[2] in (NO_CURE if pair.better in now else CUTS)


async def test_later_on_only_what_the_policy_writes_now_examines() -> None:
    """A rubric has to fit what it is to judge, not what the policy wrote a hundred steps ago."""
    trained, log = essays(step=100), list[Exchange]()
    exam = await exam_of(trained, log, before=essays(seed="before"))
    assert rules(exam).keys() == set(NO_CURE)
    assert {p.better for p in exam.fresh} <= {s.rollout.completion for s in trained}
    assert Stage.EXEMPLIFY not in {e.stage for e in log}


async def test_a_collapsed_policy_leaves_its_place_however_late() -> None:
    collapsed = [scored(s.rollout.completion, prompt=s.rollout.prompt, step=100) for s in titles()]
    exam = await exam_of(collapsed, before=essays(seed="before"))
    assert set(CUTS) < rules(exam).keys()


async def test_the_meta_model_compares_more_of_a_group_where_groups_are_few() -> None:
    group = [scored(s.rollout.completion, i / 8, prompt=PROMPT) for i, s in enumerate(essays(8))]
    settings = ExamSettings(damaged=False, compared=9)
    log: list[Exchange] = []
    exam = await exam_of(group, log, settings=settings)
    assert sum(e.stage is Stage.COMPARE for e in log) == 2 * 4, "four pairs, each in both orders"
    stood = [text for p in exam.fresh for text in (p.better, p.worse)]
    assert len(stood) == len(set(stood)) >= 4, "none stands in two pairs"


async def test_of_the_known_pairs_the_newest_are_asked_again() -> None:
    before = pairs("earlier", 5, source=Source.EARLIER)
    won = pairs("won", 2, source=Source.ARCHIVE)
    pinned = pairs("pinned", 3, source=Source.ANCHOR)
    exam = await exam_of([], known=[*before, *won, *pinned], settings=ExamSettings(earlier=4))
    assert exam.earlier == (*before[-2:], *won)
    assert set(exam.anchors) == {*won, *pinned}
    assert (await exam_of([], known=[*before, *won], settings=ExamSettings(earlier=0))).earlier == ()


async def test_where_nothing_from_before_training_is_known_exemplars_are_cut() -> None:
    log: list[Exchange] = []
    exam = await exam_of(titles(), log, settings=ExamSettings(exemplars=5, compared=0))
    assert sum(e.stage is Stage.EXEMPLIFY for e in log) == 5
    n_by = Counter(p.source for p in exam.fresh)
    assert n_by[Source.EXEMPLAR] == 5 * len(DAMAGES)
    assert n_by[Source.DAMAGED] <= 8, "titles given to other prompts say little"
    without = await exam_of(titles(), settings=ExamSettings(exemplars=0, compared=0))
    assert Source.EXEMPLAR not in {p.source for p in without.fresh}


async def test_attacks_are_held_against_the_better_completions_each_once() -> None:
    exam = await exam_of(titles(), settings=ExamSettings(exemplars=5, compared=0))
    good = [(r.prompt, r.completion) for r in exam.good]
    assert len(good) == len(set(good))
    assert set(good) == {(p.prompt, p.better) for p in exam.fresh}


async def test_equal_draws_make_equal_exams() -> None:
    assert await exam_of(essays(), known=world_anchors()) == await exam_of(essays(), known=world_anchors())


def test_damage_is_spread_over_rollouts() -> None:
    """One verdict on a rollout counts in every pair that it is the better one of."""
    rng = Random(0)
    written = [text for _, text in (write_example(rng) for _ in range(400)) if text.count(" .") >= 5]
    rollouts = [Rollout(prompt=f"p {i}", completion=text) for i, text in enumerate(written)]
    found = damaged_pairs(rollouts, 40, Random(1), among=["cut_off", "first_only", "hollowed", "remarked"])
    assert len(found) == 40
    assert len({p.prompt for p in found}) >= 36
