"""Models whose texts say how good they are, and judges that read it off them."""

import re
from collections.abc import Callable, Sequence

from metapo.evals.schedule import Entrant, Fixture, draw_up
from metapo.judge.template import unfence
from metapo.rollout import Rollout
from tests.servers import Answer, Ask, Behaviour, says


def entrant(name: str, *qualities: int, prompts: Sequence[str] = (), words: int = 0) -> Entrant:
    """A model with one text for each quality, of prompts "Prompt 0", "Prompt 1", and so on, or those given."""
    asked = prompts or [f"Prompt {i}" for i in range(len(qualities))]
    texts = [f"By {name}: quality {quality}." + words * " more" for quality in qualities]
    return Entrant(name, tuple(Rollout(prompt=p, completion=t) for p, t in zip(asked, texts, strict=True)))


def fixtures(*entrants: Entrant) -> tuple[Fixture, ...]:
    return draw_up(entrants).fixtures


def shown(prompt: str) -> tuple[str, str]:
    """The two completions that a judge is shown."""
    first, second = (unfence(f"completion {letter}", prompt) for letter in "AB")
    assert first is not None
    assert second is not None
    return first, second


def quality(text: str) -> int:
    found = re.search(r"quality (\d+)", text)
    assert found is not None, text
    return int(found[1])


def honest(prompt: str) -> str:
    """Chooses the better text; neither where they are equal."""
    first, second = map(quality, shown(prompt))
    return f"One is better.\n\n{'A' if first > second else 'B' if second > first else 'T'}"


def judges(answer: Callable[[str], str] = honest) -> Behaviour:
    """A server that answers a comparison as `answer` does, and anything else with yes."""

    def behave(ask: Ask) -> Answer:
        return says(answer(ask.prompt) if "completion A" in ask.prompt else "yes")(ask)

    return behave
