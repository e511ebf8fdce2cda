import pytest

from metapo.errors import DataError
from metapo.evals.schedule import Entrant, draw_up
from metapo.rollout import Rollout
from tests.evals.parts import entrant


def test_every_pair_meets_on_every_prompt_that_both_have() -> None:
    schedule = draw_up([entrant("b", 1, 2), entrant("a", 3, 4, 5), entrant("c", 6, prompts=["Prompt 1"])])
    met = [(f.prompt, f.model_a, f.model_b) for f in schedule.fixtures]
    assert met == [
        ("Prompt 0", "a", "b"),
        ("Prompt 1", "a", "b"),
        ("Prompt 1", "a", "c"),
        ("Prompt 1", "b", "c"),
    ]
    assert schedule.n_unmatched == 2 + 2, "a and b lack c on prompt 0, a lacks both on prompt 2"
    assert schedule.fixtures[2].completion_a == "By a: quality 4."
    assert schedule.fixtures[2].completion_b == "By c: quality 6."


def test_a_schedule_knows_no_order_of_entrants() -> None:
    entrants = [entrant("a", *range(9)), entrant("b", *range(9)), entrant("c", *range(9))]
    assert draw_up(entrants, 4, seed=1) == draw_up(entrants[::-1], 4, seed=1)


def test_a_prompt_that_comes_twice_is_played_twice() -> None:
    a = entrant("a", 1, 2, prompts=["p", "p"])
    b = entrant("b", 3, 4, 5, prompts=["p", "p", "p"])
    schedule = draw_up([a, b])
    assert [(f.completion_a[-2], f.completion_b[-2]) for f in schedule.fixtures] == [("1", "3"), ("2", "4")]
    assert schedule.n_unmatched == 1
    twins = draw_up([entrant("a", 1, 1, prompts=["p", "p"]), entrant("b", 2, 2, prompts=["p", "p"])])
    assert len(twins.fixtures) == 1, "the same texts would only be judged the same"


def test_more_prompts_keep_those_that_were_drawn() -> None:
    entrants = [entrant("a", *range(50)), entrant("b", *range(50))]
    drawn = [{f.prompt for f in draw_up(entrants, n, seed=7).fixtures} for n in (5, 20, 50, 99)]
    assert [len(prompts) for prompts in drawn] == [5, 20, 50, 50]
    assert drawn[0] < drawn[1] < drawn[2]
    assert drawn[0] != {f.prompt for f in draw_up(entrants, 5, seed=8).fixtures}


def test_prompts_that_nobody_shares_are_not_drawn() -> None:
    a = entrant("a", 1, 2, prompts=["alone", "shared"])
    assert [f.prompt for f in draw_up([a, entrant("b", 1, prompts=["shared"])], 1).fixtures] == ["shared"]


def test_ids_tell_matches_apart() -> None:
    [one] = draw_up([entrant("a", 1), entrant("b", 2)]).fixtures
    [same] = draw_up([entrant("b", 2), entrant("a", 1)]).fixtures
    [other] = draw_up([entrant("a", 1), entrant("b", 3)]).fixtures
    assert one.id == same.id != other.id


@pytest.mark.parametrize(
    ("entrants", "message"),
    [
        ([entrant("a", 1)], "needs two models or more; got 1"),
        ([entrant("a", 1), entrant("a", 2)], "two models are named 'a'. Give them names of their own"),
        ([entrant("a", 1), entrant("tie", 2)], "entrant 2: no model can be named 'tie'"),
        ([entrant("a", 1), entrant("", 2)], "entrant 2: expected a model's name"),
        (
            [entrant("a", 1), entrant("b", 2), Entrant("c", (Rollout(prompt="other", completion="x"),))],
            "'a' and 'c' share no prompt that is played",
        ),
    ],
)
def test_what_is_no_tournament_is_refused(entrants: list[Entrant], message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw_up(entrants)
