"""The text form of a rubric: what judges and meta models read, and a tolerant reader of what they write.

    <rubric>
    <item id="evidence" weight="2.0">
    ### Evidence
    Count only reasons that support the assigned side.
    - **0**: no reason. (Example: a title alone.)
    - **2**: two distinct reasons.
    </item>
    </rubric>

`parse_rubric(render_rubric(r)).rubric == r` for every rubric. The reader also takes the shapes that language
models use instead (section "rubric" of the MPO paper's logs): headings in bold or numbered, levels best first,
"Score 5:", "5 points -", "[5]", "4-5 points", several criteria in one item, missing closing tags. It never
guesses: each line that it could not use is reported.
"""

import re
from dataclasses import dataclass, field

from pydantic import ValidationError

from metapo.rubric import MAX_ABS_POINTS, Criterion, Level, Rubric, describe, slug

MAX_RANGE = 10


@dataclass(frozen=True)
class Problem:
    """A line (1-based) that was not used, and why."""

    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}: {self.text[:80]!r}"


@dataclass(frozen=True)
class ParsedRubric:
    """The criteria that could be read, in order, and every problem met on the way."""

    criteria: tuple[Criterion, ...]
    problems: tuple[Problem, ...]

    @property
    def rubric(self) -> Rubric | None:
        """The criteria as a rubric; None where there are none."""
        return Rubric(criteria=self.criteria) if self.criteria else None


def render_rubric(rubric: Rubric) -> str:
    """The rubric as text, criteria in order, levels worst to best."""
    return "\n".join(["<rubric>", *(render_criterion(c) for c in rubric.criteria), "</rubric>"])


def render_criterion(criterion: Criterion) -> str:
    """One `<item>`; attributes that hold their default are left out."""
    attributes = f' id="{criterion.id}"'
    if criterion.weight != 1:
        attributes += f' weight="{criterion.weight!r}"'
    if criterion.max_points <= 0:  # the reader takes these for negative unless told otherwise
        attributes += f' polarity="{criterion.polarity}"'
    if criterion.pinned:
        attributes += ' pinned="true"'
    if criterion.evidence:
        attributes += ' evidence="true"'
    head = [f"<item{attributes}>", f"### {criterion.name}"]
    if criterion.instruction:
        head.append(f"Instruction: {criterion.instruction}")
    return "\n".join([*head, *(_render_level(level) for level in criterion.levels), "</item>"])


def _render_level(level: Level) -> str:
    example = f" (Example: {level.example})" if level.example else ""
    return f"- **{level.points}**: {level.description}{example}"


# All but the tags are matched against lines whose white space is collapsed, so one space is the most there can be.
_TAG = re.compile(r"(</?(?:rubric|item)\b[^>]*(?:>|$))", re.IGNORECASE)
_OPEN = re.compile(r"<item\b(?P<attributes>[^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_RULE = re.compile(r"([-*_=])(?: ?\1){2,}|```\w*")
_OWN_LEVEL = re.compile(r"- \*\*(?P<low>-?\d+)\*\*: (?P<text>.+)")
_BOLD = r"(?:\*\*|__)?"
_NUMBER = r"[-+\u2212]?\d+(?:\.\d+)?"
_LEVEL = re.compile(
    rf"""(?:[-*\u2022+]\ )?{_BOLD}\ ?
    (?:score|level|rating|points?|grade)?\ ?:?\ ?
    [\[(]?(?P<low>{_NUMBER})(?:\ ?(?:-|\u2013|to)\ ?(?P<high>{_NUMBER}))?(?:\ ?/\ ?\d+)?[\])]?
    \ ?(?:points?|pts?\.?)?\ ?(?:\((?P<label>[^)]*)\))?\ ?{_BOLD}
    \ ?(?:[:=]|\ [-\u2013\u2014]\ |(?<=[\])])\ )\ ?{_BOLD}\ ?(?P<text>.+)""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(
    r"""\#{1,6}\ ?(?P<hash>.+)|
    (?:\d+\ ?[.)]\ ?)?(?:\*\*|__)(?P<bold>[^*_].*?)(?:\*\*|__)\ ?:?|
    criterion\ ?\d*\ ?:\ ?(?P<word>.+)""",
    re.IGNORECASE | re.VERBOSE,
)
_DECORATION = re.compile(r"^(?:criterion ?\d* ?[:.] ?|\d+ ?[.)] ?)+| #+$", re.IGNORECASE)
_SCALE = re.compile(
    r" ?[\[(] ?[-\d][^()\[\]]{0,30}(?:points?|pts?|[-\u2013] ?\d{1,4})[^()\[\]]{0,30}[)\]] ?:?$", re.IGNORECASE
)
_EXAMPLE = re.compile(r"(?:[-*] )?(?P<open>\()? ?[*_]{0,2}Examples?[*_]{0,2} ?:[*_]{0,2} ?(?P<text>.*)", re.IGNORECASE)
_NOTE = re.compile(r"(?:[-*] )?(?P<key>weight|polarity|instruction) ?: ?(?P<value>.+)", re.IGNORECASE)


@dataclass
class _Item:
    """An open `<item>` tag; `is_empty` until a criterion begins in it, which takes the attributes."""

    line: int
    tag: str
    attributes: dict[str, str]
    is_empty: bool = True


@dataclass
class _Draft:
    """A criterion while it is being read.

    `last` holds the points of the newest level: empty when that level was refused, None before the first one.
    """

    line: int
    name: str
    attributes: dict[str, str]
    instruction: list[str] = field(default_factory=list)
    levels: dict[int, dict[str, str]] = field(default_factory=dict)
    last: list[int] | None = None


class _Reader:
    """Reads line by line; every line ends in a draft or in `problems`."""

    def __init__(self) -> None:
        self.criteria: list[Criterion] = []
        self.problems: list[Problem] = []
        self._draft: _Draft | None = None
        self._item: _Item | None = None

    def read(self, text: str) -> ParsedRubric:
        for number, line in enumerate(text.splitlines(), 1):
            for piece in _TAG.split(line):
                if _TAG.fullmatch(piece):
                    self._tag(number, piece)
                elif piece.strip():
                    self._text(number, " ".join(piece.split()))
        if self._item is not None and self._draft is not None:
            why = "the text ends inside this item, so the criterion may be cut and is left out"
            self._problem(self._draft.line, self._draft.name, why)
            self._draft = None
        self._end_item()
        return ParsedRubric(tuple(self.criteria), tuple(sorted(self.problems, key=lambda p: p.line)))

    def _tag(self, number: int, tag: str) -> None:
        self._end_item()
        if not tag.endswith(">"):
            self._problem(number, tag, "a tag that doesn't end on its line")
        elif opened := _OPEN.fullmatch(tag):
            attributes = {
                key.lower(): double or single for key, double, single in _ATTRIBUTE.findall(opened["attributes"])
            }
            self._item = _Item(number, tag, attributes)

    def _end_item(self) -> None:
        self._end_draft()
        item, self._item = self._item, None
        if item is not None and item.is_empty:
            self._problem(item.line, item.tag, "an item without a criterion")

    def _text(self, number: int, line: str) -> None:
        if _RULE.fullmatch(line):
            return
        if level := _OWN_LEVEL.fullmatch(line) or _LEVEL.fullmatch(line):
            self._level(number, line, level)
        elif heading := self._heading(line):
            self._begin(number, heading)
        elif self._draft is not None:
            self._prose(number, line, self._draft)
        elif "name" in self._unclaimed:
            self._prose(number, line, self._begin(number, self._unclaimed["name"]))
        else:
            self._problem(number, line, "text outside of any criterion")

    @property
    def _unclaimed(self) -> dict[str, str]:
        """The attributes of an item in which no criterion has begun."""
        return self._item.attributes if self._item is not None and self._item.is_empty else {}

    def _begin(self, number: int, name: str) -> _Draft:
        self._end_draft()
        self._draft = _Draft(number, name, self._unclaimed)
        if self._item is not None:
            self._item.is_empty = False
        return self._draft

    def _heading(self, line: str) -> str | None:
        """The name in a heading line; the first plain line of an item without a name counts as one."""
        if "id" in self._unclaimed and line.startswith("### "):
            return line.removeprefix("### ")
        match = _HEADING.fullmatch(line)
        name = next((g for g in match.groups() if g), None) if match else None
        if name is None and self._item is not None and self._draft is None and "name" not in self._unclaimed:
            name = line
        if name is None:
            return None
        name = _DECORATION.sub("", name.strip().strip("*_").strip())
        return _SCALE.sub("", name).strip().rstrip(":").strip("*_").strip() or None

    def _level(self, number: int, line: str, match: re.Match[str]) -> None:
        if self._draft is None and self._item is None:
            self._problem(number, line, "a level outside of any criterion")
            return
        draft = self._draft or self._begin(number, self._unclaimed.get("name", "criterion"))
        draft.last = []
        found = match.groupdict()
        low = float(found["low"].replace("\u2212", "-"))
        high = float((found.get("high") or found["low"]).replace("\u2212", "-"))
        if max(abs(low), abs(high)) > MAX_ABS_POINTS:
            self._problem(number, line, f"points must lie between -{MAX_ABS_POINTS} and {MAX_ABS_POINTS}")
            return
        if not (low.is_integer() and high.is_integer()):
            self._problem(number, line, "points must be whole numbers")
            return
        span = range(int(low), int(high) + 1)
        if not 1 <= len(span) <= MAX_RANGE:
            self._problem(number, line, f"a range of points must rise and hold at most {MAX_RANGE} of them")
            return
        if taken := [p for p in span if p in draft.levels]:
            self._problem(number, line, f"this criterion has a level of {taken[0]} points already")
        draft.last = [p for p in span if p not in taken]
        label = f"{found['label']}: " if found.get("label") else ""
        for points in draft.last:
            draft.levels[points] = {"description": label + found["text"], "example": ""}

    def _prose(self, number: int, line: str, draft: _Draft) -> None:
        if note := _NOTE.fullmatch(line):
            if note["key"].lower() == "instruction":
                draft.instruction.append(note["value"])
            else:
                draft.attributes = {**draft.attributes, note["key"].lower(): note["value"]}
        elif draft.last is None:
            draft.instruction.append(line)
        elif not draft.last:
            self._problem(number, line, "it belongs to a level that was not used")
        else:
            example = _EXAMPLE.fullmatch(line)
            key, text = ("example", _inside(example)) if example else ("description", line)
            for points in draft.last:
                draft.levels[points][key] = f"{draft.levels[points][key]} {text}".strip()

    def _end_draft(self) -> None:
        draft, self._draft = self._draft, None
        if draft is None:
            return
        try:
            criterion = _criterion(draft)
        except ValidationError as e:
            self._problem(draft.line, draft.name, f"no valid criterion ({describe(e).strip()})")
            return
        if any(c.id == criterion.id for c in self.criteria):
            self._problem(draft.line, draft.name, f"a second criterion with the id {criterion.id!r}")
            return
        self.criteria.append(criterion)

    def _problem(self, line: int, text: str, why: str) -> None:
        self.problems.append(Problem(line, text.strip(), why))


def _inside(example: re.Match[str]) -> str:
    """The example's text; a bracket at its end is its own unless one was opened in front."""
    return example["text"].removesuffix(")") if example["open"] else example["text"]


def _criterion(draft: _Draft) -> Criterion:
    deducts = bool(draft.levels) and max(draft.levels) <= 0
    return Criterion.model_validate(
        {
            "id": draft.attributes.get("id") or slug(draft.name),
            "name": draft.name,
            "instruction": " ".join(draft.instruction),
            "levels": [{"points": p, **draft.levels[p]} for p in sorted(draft.levels)],
            "weight": draft.attributes.get("weight", 1.0),
            "polarity": draft.attributes.get("polarity", "negative" if deducts else "positive").lower(),
            "pinned": draft.attributes.get("pinned", "").lower() == "true",
            "evidence": draft.attributes.get("evidence", "").lower() == "true",
        }
    )


def parse_rubric(text: str) -> ParsedRubric:
    """Read every criterion in a text. Never raises: what could not be read is in `problems`, with its line."""
    return _Reader().read(text)
