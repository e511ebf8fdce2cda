"""A rubric as frozen data, the verdicts given under it, and the revisions that it goes through.

    Rubric > Criterion > Level        what is judged, and the grades on offer
    Verdict | Unscored                what the judge said of one criterion, or why it said nothing
    Revision                          a rubric in its place: parents, reason, proposer, step

A rubric has no id, clock or database in it. A revision's id is a digest over its content and its parents'
ids, so a lineage can be re-derived and checked.
"""

import hashlib
import json
import math
import re
from difflib import get_close_matches
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from metapo.errors import RubricError
from metapo.pages import in_notebook

MAX_ABS_POINTS = 1000
MAX_WEIGHT = 1e6
_ID = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_MARKUP = re.compile(r"</?\s*(rubric|item)\b", re.IGNORECASE)
_EXAMPLE = re.compile(r"\(\s*Example:")


class Frozen(BaseModel):
    """Base of the values that cross disk, wire or a model: immutable, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value; the same for equal values on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def slug(name: str) -> str:
    """A criterion id made from a name: "Depth of Analysis" -> "depth-of-analysis"."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].strip("-") or "criterion"


def _well_formed(text: str) -> str:
    """Replace halves of surrogate pairs: JSON escapes can bring them in, but no file or database can hold them."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


Text = Annotated[str, AfterValidator(_well_formed)]


def _one_line(value: Any) -> Any:
    """Collapse white space and refuse the rubric's own markup inside a text field."""
    if not isinstance(value, str):
        return value
    if found := _MARKUP.search(value):
        raise ValueError(f"{found.group()!r} is the rubric's own markup, not allowed inside a text: {value[:80]!r}")
    return " ".join(_well_formed(value).split())


Line = Annotated[str, BeforeValidator(_one_line)]


class Polarity(StrEnum):
    """Whether a criterion rewards something good or deducts for something bad."""

    POSITIVE = "positive"
    NEGATIVE = "negative"


class Level(Frozen):
    """One described grade of a criterion, worth `points` (a whole number, -1000 to 1000)."""

    points: int = Field(ge=-MAX_ABS_POINTS, le=MAX_ABS_POINTS, strict=True)
    description: Line = Field(min_length=1)
    example: Line = ""

    @model_validator(mode="before")
    @classmethod
    def _example_from_description(cls, data: Any) -> Any:
        """Read "text (Example: e.g.)" as description and example, the form in which models write levels."""
        if not isinstance(data, dict) or not isinstance(data.get("description"), str):
            return data
        text = data["description"].strip()
        starts = list(_EXAMPLE.finditer(text))
        if not starts or not text.endswith(")") or str(data.get("example") or "").strip():
            return data
        description, example = text[: starts[-1].start()].strip(), text[starts[-1].end() : -1].strip()
        return {**data, "description": description, "example": example} if description and example else data

    @model_validator(mode="after")
    def _example_is_plain(self) -> "Level":
        if _EXAMPLE.search(self.example):
            raise ValueError(f"an example can't hold another '(Example:': {self.example[:80]!r}")
        return self


class Criterion(Frozen):
    """One thing judged. Levels go from worst to best: points strictly rise, at least two levels.

    `weight` (above 0, at most a million) multiplies the points in the reward. A `negative` criterion only deducts: its
    best level is worth at most 0. A `pinned` criterion survives every meta step unchanged. Where `evidence` is set, a
    verdict stands only with words that the completion really holds.
    """

    id: str = Field(pattern=_ID)
    name: Line = Field(min_length=1)
    instruction: Line = ""
    levels: tuple[Level, ...] = Field(min_length=2)
    weight: float = Field(default=1.0, gt=0, le=MAX_WEIGHT, allow_inf_nan=False)
    polarity: Polarity = Polarity.POSITIVE
    pinned: bool = False
    evidence: bool = False

    @model_validator(mode="before")
    @classmethod
    def _id_from_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "id" not in data and isinstance(data.get("name"), str):
            return {**data, "id": slug(data["name"])}
        return data

    @model_validator(mode="after")
    def _is_consistent(self) -> "Criterion":
        points = [level.points for level in self.levels]
        if any(a >= b for a, b in pairwise(points)):
            raise ValueError(f"criterion {self.id!r}: levels go from worst to best, so points must rise; got {points}")
        if self.polarity is Polarity.NEGATIVE and points[-1] > 0:
            raise ValueError(
                f"criterion {self.id!r} is negative, so no level may add points; its best level has {points[-1]}"
            )
        return self

    @property
    def min_points(self) -> int:
        return self.levels[0].points

    @property
    def max_points(self) -> int:
        return self.levels[-1].points

    @property
    def absent_points(self) -> int:
        """The points of the level that needs no evidence, as it says that nothing is there: the worst one, or the best
        of a negative criterion."""
        return self.max_points if self.polarity is Polarity.NEGATIVE else self.min_points

    def level(self, points: int) -> Level | None:
        """The level worth exactly `points`, or None where the criterion offers none."""
        return next((level for level in self.levels if level.points == points), None)


class Rubric(Frozen):
    """A set of criteria in a fixed order, with unique ids."""

    criteria: tuple[Criterion, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> "Rubric":
        ids = [c.id for c in self.criteria]
        if repeated := sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"criterion ids must be unique; repeated: {', '.join(repeated)}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the content; equal rubrics have equal digests. Fields that hold their default don't count, so
        that a field added to the format later changes no digest."""
        return digest(self.model_dump(mode="json", exclude_defaults=True))

    @property
    def min_points(self) -> float:
        """The lowest weighted sum that any verdicts can give."""
        return math.fsum(c.weight * c.min_points for c in self.criteria)

    @property
    def max_points(self) -> float:
        """The highest weighted sum that any verdicts can give."""
        return math.fsum(c.weight * c.max_points for c in self.criteria)

    @property
    def n_words(self) -> int:
        """Words in names, instructions, descriptions and examples."""
        texts = [t for c in self.criteria for t in (c.name, c.instruction)]
        texts += [t for c in self.criteria for level in c.levels for t in (level.description, level.example)]
        return sum(len(t.split()) for t in texts)

    def criterion(self, criterion_id: str) -> Criterion | None:
        return next((c for c in self.criteria if c.id == criterion_id), None)

    def _repr_html_(self) -> str | None:
        return in_notebook("rubric", self)

    def to_yaml(self) -> str:
        """The rubric as YAML, without fields that hold their default."""
        data = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)

    @classmethod
    def from_yaml(cls, text: str, *, source: str = "the text") -> "Rubric":
        """Read YAML or JSON. Raises RubricError that names the source and each field that is wrong."""
        try:
            return cls.model_validate(yaml.safe_load(text))
        except ValidationError as e:
            raise RubricError(f"{source} is no valid rubric:\n{describe(e)}") from e
        # PyYAML lets Python's own errors through where a value doesn't fit its tag, and where nesting is too deep.
        except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as e:
            raise RubricError(f"{source} is neither YAML nor JSON: {e}") from e

    @classmethod
    def load(cls, path: str | Path) -> "Rubric":
        """Read a .yaml or .json file. Raises RubricError."""
        try:
            return cls.from_yaml(Path(path).read_text(encoding="utf-8"), source=str(path))
        except OSError as e:
            message = f"can't read the rubric {path}: {e.strerror}. Give the path of a .yaml or .json file."
            raise RubricError(message) from e
        except UnicodeDecodeError as e:
            raise RubricError(f"{path} is not UTF-8 text: {e.reason} at byte {e.start}") from e


def describe(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """A pydantic error as one line a field: where, what was wrong, what came. With the `model` that was read, a field
    that there isn't has those that are like it."""
    lines = []
    parts = error.errors(include_url=False)
    for part in parts:
        depth = len(part["loc"])
        # pydantic counts only the items that are valid: what is wrong with the others has a line of its own
        if part["type"] == "too_short" and any(p["loc"][:depth] == part["loc"] and p is not part for p in parts):
            continue
        # a part in angle brackets tells which kind of value was tried, which is no field
        path = [str(p) for p in part["loc"] if not str(p).startswith("<")]
        where = ".".join(path) or "(top)"
        if part["type"] == "extra_forbidden" and model is not None:
            lines.append(f"  {where}: there is no such field. {_like(path[-1], _fields(model, path[:-1]))}")
            continue
        is_told = part["type"] == "missing" or "; got " in part["msg"]
        got = "" if is_told else f"; got {str(part['input'])[:80]!r}"
        lines.append(f"  {where}: {part['msg'].removeprefix('Value error, ')}{got}")
    return "\n".join(lines)


def _fields(model: type[BaseModel], path: list[str]) -> list[str]:
    """The names of the fields at a path through nested models; none where it leads elsewhere."""
    here = [model]
    for name in path:
        below = [one.model_fields[name].annotation for one in here if name in one.model_fields]
        here = [one for annotation in below for one in _models(annotation)]
    return [name for one in here for name in one.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Those in an annotation, such as the one in `Endpoint | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [one for part in get_args(annotation) for one in _models(part)]


def _like(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=3)
    if near:
        return f"Similar ones: {', '.join(near)}"
    return f"There are {', '.join(known)}" if known else "Leave it out"


class Reason(StrEnum):
    """Why a criterion has no verdict."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    BAD_RESPONSE = "bad_response"
    REJECTED = "rejected"
    TOO_LONG = "too_long"
    MISCONFIGURED = "misconfigured"
    EMPTY = "empty"
    REFUSED = "refused"
    UNPARSABLE = "unparsable"
    TRUNCATED = "truncated"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    OFF_MENU = "off_menu"
    NO_EVIDENCE = "no_evidence"
    NO_QUORUM = "no_quorum"
    NOT_SCREENED = "not_screened"


class Verdict(Frozen):
    """One of a criterion's own levels, by its points, and why.

    `expected` lies between the criterion's lowest and highest points where a mean was asked for: over the level's
    probabilities or over several judges; `uncertainty` is then the standard deviation, in points. `label_mass` (0 to 1)
    is what the probabilities of the levels' letters summed up to where they were asked for, 0 where none came. `quote`
    is what the judge gave as evidence.
    """

    criterion_id: str
    points: int
    rationale: Text = ""
    quote: Text = ""
    expected: float | None = None
    uncertainty: float | None = None
    label_mass: float | None = None

    @property
    def value(self) -> float:
        """What counts in the reward, in points: the expected points where there are any."""
        return self.points if self.expected is None else self.expected

    def _repr_html_(self) -> str | None:
        return in_notebook("outcomes", [self])


class Unscored(Frozen):
    """No verdict on a criterion: the reason, a detail for people, and what the judge wrote."""

    criterion_id: str
    reason: Reason
    detail: Text = ""
    raw: Text = ""

    def _repr_html_(self) -> str | None:
        return in_notebook("outcomes", [self])


Outcome = Verdict | Unscored


class Revision(Frozen):
    """A rubric in its place in the lineage.

    `parents` are revision ids (none for the first), `step` is the training step after which it was proposed,
    `proposer` says who wrote it (a person, a preset, a meta model), `reason` why.
    """

    rubric: Rubric
    parents: tuple[str, ...] = ()
    reason: str
    proposer: str
    step: int = Field(ge=0)

    @property
    def id(self) -> str:
        """Digest over content and parents: it can be re-derived, so a changed lineage shows."""
        return digest([self.rubric.digest, list(self.parents), self.reason, self.proposer, self.step])

    @property
    def short_id(self) -> str:
        return self.id[:10]

    def _repr_html_(self) -> str | None:
        return in_notebook("revision", self)
