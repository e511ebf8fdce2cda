"""Clusters of prompts that are alike: K-means within each group, such as a subject, over embeddings of the texts.

The same texts, groups and seed give the same clusters in any order of the rows and with any number of threads: texts
are taken in alphabetical order, vectors are rounded, K-means goes on until nothing moves, and clusters go by size.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metapo.errors import DataError, MissingExtra, ModelError, SettingsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Embed = Callable[[Sequence[str], Sequence[str]], Any]
"""(texts, known texts) -> an array with a row for each of the texts; what is learned is learned from the known ones."""

N_LETTERS = (3, 4)
N_DIMENSIONS = 32
MIN_SHARE = 1e-6  # a direction in which the known texts differ by less, relative to the first, is noise
DECIMALS = 4  # far coarser than what processors and thread counts make of the last digits
N_STARTS = 10
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class Clustered:
    """A text whose cluster is known."""

    text: str
    group: str
    cluster: str


def by_letters(texts: Sequence[str], known: Sequence[str]) -> Any:
    """Texts are alike whose runs of three and four letters are: TF-IDF, projected on its main directions, at most
    `N_DIMENSIONS`. Nothing is downloaded. Raises DataError where all known texts are blank, MissingExtra."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize
        from sklearn.utils.extmath import randomized_svd
    except ImportError as e:
        raise MissingExtra("cluster", "clustering prompts") from e
    if not any(text.strip() for text in known):
        raise DataError("the texts to cluster are blank; each needs at least one letter")
    weigh = TfidfVectorizer(analyzer="char_wb", ngram_range=N_LETTERS, sublinear_tf=True)
    weights = weigh.fit_transform(known)
    n = min(N_DIMENSIONS, *weights.shape)
    _, sizes, directions = randomized_svd(weights, n, n_iter=10, random_state=0)
    return normalize(weigh.transform(texts) @ directions[sizes > MIN_SHARE * sizes[0]].T)


def by_model(name: str) -> Embed:
    """Texts are alike that are alike to a model of sentence-transformers, a folder or a hub id. Raises ModelError,
    MissingExtra."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as e:
        raise MissingExtra("embed", f"the embedding model {name!r}") from e
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as e:
        raise ModelError(
            f"can't load the embedding model {name!r}: {e}. Give a folder or a hub id that sentence-transformers loads."
        ) from e
    return lambda texts, known: model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)


def cluster_texts(
    texts: Sequence[str], groups: Sequence[str], n_clusters: int, seed: int = 0, embed: Embed = by_letters
) -> list[str]:
    """The name of each text's cluster, in the order of the texts: "algebra/0", "algebra/1", ... within the group
    "algebra", the largest first; "0", "1", ... within the group "".

    Of clusters of one size, that with the alphabetically first text comes first. A group has as many clusters as
    different texts where that is less than `n_clusters`. Raises SettingsError for less than one cluster, DataError,
    MissingExtra.
    """
    if n_clusters < 1:
        raise SettingsError(f"a group needs at least one cluster; got {n_clusters}")
    names = [""] * len(texts)
    for group, rows in _rows_by_group(groups).items():
        rows.sort(key=lambda row: texts[row])
        ordered = [texts[row] for row in rows]
        for row, number in zip(rows, _partition(_vectors(embed, ordered, ordered), n_clusters, seed), strict=True):
            names[row] = f"{group}/{number}" if group else str(number)
    return names


def assign_texts(
    texts: Sequence[str], groups: Sequence[str], known: Sequence[Clustered], embed: Embed = by_letters
) -> list[str]:
    """The cluster of known texts whose centre is nearest to each text, within its group.

    Known texts get the clusters back that `cluster_texts` gave them, so their file is all that has to be kept. Raises
    DataError for a group without known texts, counting texts from 1, MissingExtra.
    """
    known_rows = _rows_by_group([item.group for item in known])
    names = [""] * len(texts)
    for group, rows in _rows_by_group(groups).items():
        if group not in known_rows:
            raise DataError(
                f"row {rows[0] + 1} is of the group {group!r}, which no clustered row is of; there are "
                f"{', '.join(map(repr, sorted(known_rows))) or 'none'}. Leave it out, or cluster all rows as one file."
            )
        examples = sorted((known[row] for row in known_rows[group]), key=lambda item: (item.text, item.cluster))
        nearest = _nearest([texts[row] for row in rows], examples, embed)
        for row, name in zip(rows, nearest, strict=True):
            names[row] = name
    return names


def _rows_by_group(groups: Sequence[str]) -> Mapping[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows[group].append(row)
    return rows


def _vectors(embed: Embed, texts: Sequence[str], known: Sequence[str]) -> "NDArray[Any]":
    """(n_texts, n_dimensions), rounded, without negative zeros."""
    vectors = embed(texts, known)  # says what to install, before numpy is missed
    import numpy as np

    return np.round(np.asarray(vectors, dtype=np.float64), DECIMALS) + 0.0


def _partition(vectors: "NDArray[Any]", n_clusters: int, seed: int) -> list[int]:
    """The number of each row's cluster: the largest is 0, of equal ones that whose first row comes first."""
    try:
        import numpy as np
        from sklearn.cluster import KMeans
    except ImportError as e:
        raise MissingExtra("cluster", "clustering prompts") from e
    n = min(n_clusters, len(np.unique(vectors, axis=0)))
    means = KMeans(n, n_init=N_STARTS, max_iter=MAX_ITERATIONS, tol=0, random_state=seed)
    found = means.fit(vectors).labels_.tolist()
    by_size = sorted(set(found), key=lambda label: (-found.count(label), found.index(label)))
    number = {label: i for i, label in enumerate(by_size)}
    return [number[label] for label in found]


def _nearest(texts: Sequence[str], examples: Sequence[Clustered], embed: Embed) -> list[str]:
    """The cluster whose examples' mean is nearest to each text; of two as near, the alphabetically first."""
    import numpy as np

    known = [item.text for item in examples]
    vectors = _vectors(embed, [*known, *texts], known)
    names = sorted({item.cluster for item in examples})
    of = np.array([names.index(item.cluster) for item in examples])
    centres = np.stack([vectors[: len(known)][of == i].mean(axis=0) for i in range(len(names))])
    gaps = ((vectors[len(known) :, None, :] - centres[None]) ** 2).sum(axis=2)
    return [names[i] for i in gaps.argmin(axis=1)]
