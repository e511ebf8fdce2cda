"""Clusters of prompts: which texts come together, what they are called, and that nothing but texts and seed decides."""

import hashlib
import json
import os
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metapo.errors import DataError, MissingExtra, ModelError, SettingsError
from metapo.tasks.clusters import Clustered, assign_texts, by_letters, by_model, cluster_texts

DATA = Path(os.environ.get("METAPO_MATH_DATA", Path(__file__).parents[3] / "shared" / "data" / "math"))
needs_math = pytest.mark.skipif(not DATA.is_dir(), reason=f"there are no MATH problems in {DATA}")

TOPICS = {
    "dice": "What is the probability that a fair die rolled {n} times shows a six each time? Dice of color {m}.",
    "area": "Find the area of a triangle with sides {n} and {m} in square units, and its perimeter.",
    "root": "Solve the quadratic equation x^2 + {n}x + {m} = 0 and give the sum of its roots.",
}


def problems(sizes: Sequence[int] = (12, 9, 6), seed: int = 0) -> list[tuple[str, str]]:
    """Shuffled (topic, problem)."""
    rng = Random(seed)
    found = [
        (topic, words.format(n=rng.randint(2, 99), m=rng.randint(2, 99)))
        for (topic, words), size in zip(TOPICS.items(), sizes, strict=True)
        for _ in range(size)
    ]
    rng.shuffle(found)
    return found


def by_end_letters(texts: Sequence[str], known: Sequence[str]) -> Any:
    """A plain embedding, for properties of many small texts: where their first and last letters stand."""
    return [[float(ord(text[0])), float(ord(text[-1]))] for text in texts]


# --- which texts come together


def test_what_is_alike_comes_together_and_the_largest_cluster_is_first() -> None:
    topics, texts = zip(*problems(), strict=True)
    names = cluster_texts(texts, ["math"] * len(texts), 3)
    assert set(zip(names, topics, strict=True)) == {("math/0", "dice"), ("math/1", "area"), ("math/2", "root")}


def test_groups_share_no_cluster() -> None:
    found = problems()
    texts = [text for _, text in found]
    groups = ["odd" if i % 2 else "even" for i in range(len(texts))]
    names = cluster_texts(texts, groups, 3)
    assert {name.partition("/")[0] for name, g in zip(names, groups, strict=True) if g == "odd"} == {"odd"}
    alone = cluster_texts([t for t, g in zip(texts, groups, strict=True) if g == "odd"], ["odd"] * (len(texts) // 2), 3)
    assert [name for name in names if name.startswith("odd")] == alone, "what is in other groups changes nothing"


def test_without_a_group_the_number_alone_is_the_name() -> None:
    texts = [text for _, text in problems()]
    assert set(cluster_texts(texts, [""] * len(texts), 3)) == {"0", "1", "2"}


@pytest.mark.parametrize(("n_texts", "n_different"), [(1, 1), (5, 1), (2, 2), (6, 2)])
@pytest.mark.parametrize("embed", [by_letters, by_end_letters])
def test_there_are_no_more_clusters_than_different_texts(n_texts: int, n_different: int, embed: Any) -> None:
    texts = [f"{'abc'[i % n_different]} problem {i % n_different}" for i in range(n_texts)]
    assert len(set(cluster_texts(texts, ["g"] * n_texts, 3, embed=embed))) == n_different


def test_no_texts_have_no_clusters() -> None:
    assert cluster_texts([], [], 3) == []
    assert assign_texts([], [], []) == []


# --- nothing but the texts and the seed decides

words = st.text("abcxyz", min_size=1, max_size=3)


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=20), st.integers(1, 4), st.randoms(use_true_random=False))
def test_names_are_canonical(texts: list[str], n_clusters: int, rng: Random) -> None:
    names = cluster_texts(texts, ["g"] * len(texts), n_clusters, embed=by_end_letters)
    by_text = dict(zip(texts, names, strict=True))
    assert names == [by_text[text] for text in texts], "equal texts are in one cluster"
    sizes = Counter(names)
    order = sorted(sizes, key=lambda name: (-sizes[name], min(t for t in texts if by_text[t] == name)))
    assert order == [f"g/{i}" for i in range(len(order))]
    assert len(order) == min(n_clusters, len({(t[0], t[-1]) for t in texts}))
    shuffled = rng.sample(texts, len(texts))
    assert cluster_texts(shuffled, ["g"] * len(texts), n_clusters, embed=by_end_letters) == [
        by_text[text] for text in shuffled
    ]


@settings(deadline=None, max_examples=40)
@given(st.lists(words, min_size=1, max_size=20), st.integers(1, 4))
def test_each_text_is_nearest_to_the_centre_of_its_cluster(texts: list[str], n_clusters: int) -> None:
    names = cluster_texts(texts, ["g"] * len(texts), n_clusters, embed=by_end_letters)
    for text, name in zip(texts, names, strict=True):
        gaps = {other: gap(text, other, texts, names) for other in names}
        assert gaps[name] <= min(gaps.values()) + 1e-6


def gap(text: str, name: str, texts: Sequence[str], names: Sequence[str]) -> float:
    """The squared distance from a text to a cluster's centre, the long way."""
    members = by_end_letters([t for t, n in zip(texts, names, strict=True) if n == name], texts)
    centre = [sum(axis) / len(members) for axis in zip(*members, strict=True)]
    [point] = by_end_letters([text], texts)
    return float(sum((a - b) ** 2 for a, b in zip(point, centre, strict=True)))


@settings(deadline=None, max_examples=40)
@given(st.lists(words, min_size=1, max_size=40))
def test_letters_make_vectors_of_length_one_for_texts_that_share_any(texts: list[str]) -> None:
    lengths = np.linalg.norm(by_letters(texts, texts), axis=1)
    assert lengths == pytest.approx(np.ones(len(texts)))
    assert not by_letters(["0000"], texts).any(), "nothing in common"


def test_another_seed_may_lead_elsewhere() -> None:
    texts = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    found = {tuple(cluster_texts(texts, [""] * 64, 5, seed, embed=by_end_letters)) for seed in range(6)}
    assert len(found) > 1


CHILD = """
import json, sys
from metapo.tasks.clusters import Clustered, assign_texts, cluster_texts
texts, groups, more, more_groups = json.load(sys.stdin)
names = cluster_texts(texts, groups, 3)
known = [Clustered(*item) for item in zip(texts, groups, names)]
print(json.dumps([names, assign_texts(more, more_groups, known)]))
"""


def elsewhere(items: Any, n_threads: int, hash_seed: int) -> str:
    threads = {name: str(n_threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    run = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(items),
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | threads | {"PYTHONHASHSEED": str(hash_seed)},
    )
    return run.stdout


def test_threads_and_processes_change_nothing() -> None:
    texts = [text for _, text in problems((300, 250, 200))]
    more = [text for _, text in problems(seed=1)]
    items = [texts, ["g"] * len(texts), more, ["g"] * len(more)]
    one = elsewhere(items, n_threads=1, hash_seed=1)
    assert one == elsewhere(items, n_threads=2, hash_seed=2)
    assert {len(set(names)) for names in json.loads(one)} == {3}


def math_problems(split: str) -> tuple[list[str], list[str]]:
    rows = [json.loads(line) for line in (DATA / f"{split}.jsonl").read_text().split("\n") if line]
    return [row["problem"] for row in rows], [row["subject"] for row in rows]


@needs_math
def test_math_problems_make_21_clusters_everywhere_the_same() -> None:
    texts, groups = math_problems("train")
    more, more_groups = math_problems("test")
    one = elsewhere([texts, groups, more, more_groups], n_threads=1, hash_seed=1)
    assert one == elsewhere([texts, groups, more, more_groups], n_threads=2, hash_seed=2)
    names, assigned = json.loads(one)
    assert len(set(names)) == len(set(assigned)) == 21
    assert min(Counter(names).values()) >= 3
    shuffled = Random(0).sample(range(len(texts)), len(texts))
    again = cluster_texts([texts[i] for i in shuffled], [groups[i] for i in shuffled], 3)
    assert again == [names[i] for i in shuffled]


@needs_math
def test_letters_tell_subjects_apart() -> None:
    """A check on the embedding: clusters of all problems agree with their subjects far better than by chance."""
    from sklearn.metrics import normalized_mutual_info_score

    texts, subjects = math_problems("train")
    names = cluster_texts(texts, [""] * len(texts), 7)
    by_chance = Random(0).sample(names, len(names))
    assert normalized_mutual_info_score(subjects, by_chance) < 0.06
    assert normalized_mutual_info_score(subjects, names) > 0.2


# --- texts that come later


def known(texts: Sequence[str], groups: Sequence[str], names: Sequence[str]) -> list[Clustered]:
    return [Clustered(*item) for item in zip(texts, groups, names, strict=True)]


def test_a_new_text_goes_to_the_nearest_cluster_of_its_group() -> None:
    texts = [text for _, text in problems()]
    groups = ["math"] * len(texts)
    clustered = known(texts, groups, cluster_texts(texts, groups, 3))
    new_topics, new = zip(*problems(seed=7), strict=True)
    place = {"dice": "math/0", "area": "math/1", "root": "math/2"}
    assert assign_texts(new, ["math"] * len(new), clustered) == [place[topic] for topic in new_topics]
    other = [Clustered("Boil the rice.", "cooking", "cooking/0")]
    assert assign_texts([texts[0]], ["cooking"], [*clustered, *other]) == ["cooking/0"]


def test_known_texts_come_back_to_their_clusters() -> None:
    texts = [text for _, text in problems((60, 60, 60))]
    groups = [f"group {i % 2}" for i in range(len(texts))]
    names = cluster_texts(texts, groups, 4)
    assert assign_texts(texts, groups, known(texts, groups, names)) == names


@settings(deadline=None, max_examples=40)
@given(st.lists(words, min_size=1, max_size=20), st.lists(words, max_size=10), st.randoms(use_true_random=False))
def test_the_nearest_centre_decides(texts: list[str], new: list[str], rng: Random) -> None:
    names = [rng.choice("abc") for _ in texts]
    assigned = assign_texts(new, [""] * len(new), known(texts, [""] * len(texts), names), by_end_letters)
    for text, name in zip(new, assigned, strict=True):
        gaps = {other: gap(text, other, texts, names) for other in names}
        assert gaps[name] <= min(gaps.values()) + 1e-6


def test_clusters_may_have_any_name_and_any_origin() -> None:
    by_hand = known(["Roll a die.", "Toss a coin.", "Area of a square."], [""] * 3, ["chance", "chance", "shape"])
    assert assign_texts(["The area of a circle."], [""], by_hand) == ["shape"]


# --- what can't be clustered


def test_a_group_without_clusters_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"^row 2 is of the group 'new', which no clustered row is of; there are 'old'\."
    ):
        assign_texts(["a", "b"], ["old", "new"], [Clustered("a", "old", "old/0")])


def test_less_than_one_cluster_is_refused() -> None:
    with pytest.raises(SettingsError, match="at least one cluster; got 0"):
        cluster_texts(["a"], [""], 0)


def test_blank_texts_alone_are_refused() -> None:
    with pytest.raises(DataError, match="are blank"):
        cluster_texts([" ", "\n"], ["", ""], 2)


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        (["sklearn.cluster"], by_end_letters),
        (["sklearn.utils.extmath"], by_letters),
        (["sklearn", "numpy"], by_letters),
    ],
)
def test_a_missing_extra_says_how_to_install_it(missing: list[str], what: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtra, match=r"pip install 'metapo\[cluster\]'"):
        cluster_texts(["a", "b"], ["", ""], 2, embed=what)


def test_a_missing_embedding_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"pip install 'metapo\[embed\]'"):
        by_model("models/embedder")


# --- a model


class SentenceTransformer:
    """Stands for the library's class: float32 vectors of length one, from a digest of the topic's first word."""

    def __init__(self, name: str) -> None:
        if name != "models/embedder":
            raise OSError(f"{name} is not a local folder and is not a valid model identifier")

    def encode(self, texts: list[str], *, normalize_embeddings: bool, show_progress_bar: bool) -> Any:
        digests = [hashlib.sha256(text.split()[0].encode()).digest()[:16] for text in texts]
        vectors = np.array([[float(byte) for byte in digest] for digest in digests], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if normalize_embeddings else vectors


def test_a_model_may_say_what_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.SimpleNamespace(SentenceTransformer=SentenceTransformer)
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    texts = ["tea is hot", "ice is cold", "tea or coffee", "ice and snow", "tea leaves"]
    names = cluster_texts(texts, [""] * 5, 2, embed=by_model("models/embedder"))
    assert names == ["0", "1", "0", "1", "0"]
    assert assign_texts(["ice"], [""], known(texts, [""] * 5, names), by_model("models/embedder")) == ["1"]
    with pytest.raises(ModelError, match=r"can't load the embedding model 'nowhere': .* Give a folder or a hub id"):
        by_model("nowhere")
