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

from metapo.rubric import Criterion, Level, Polarity, Rubric, describe, slug

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
    if criterion.polarity is Polarity.NEGATIVE:
        attributes += ' polarity="negative"'
    if criterion.pinned:
        attributes += ' pinned="true"'
    head = [f"<item{attributes}>", f"### {criterion.name}"]
    if criterion.instruction:
        head.append(f"Instruction: {criterion.instruction}")
    return "\n".join([*head, *(_render_level(level) for level in criterion.levels), "</item>"])


def _render_level(level: Level) -> str:
    example = f" (Example: {level.example})" if level.example else ""
    return f"- **{level.points}**: {level.description}{example}"


_OWN_LEVEL = re.compile(r"^- \*\*(?P<low>-?\d+)\*\*: (?P<text>.*\S)\s*$")
_OPEN = re.compile(r"<item\b(?P<attributes>[^>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)"')
_BOLD = r"(?:\*\*|__)?"
_NUMBER = r"[-+\u2212]?\d+(?:\.\d+)?"
_LEVEL = re.compile(
    rf"""^\s*(?:[-*\u2022+]\s+)?{_BOLD}\s*
    (?P<word>score|level|rating|points?|grade)?\s*:?\s*
    [\[(]?(?P<low>{_NUMBER})(?:\s*(?:-|\u2013|to)\s*(?P<high>\d+(?:\.\d+)?))?(?:\s*/\s*\d+)?[\])]?
    \s*(?P<unit>points?|pts?\.?)?\s*(?:\((?P<label>[^)]*)\))?\s*{_BOLD}
    \s*(?:[:=]|\s[-\u2013\u2014]\s|(?<=[\])])\s)\s*{_BOLD}\s*(?P<text>.*\S)\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(
    rf"""^\s*(?:\#{{1,6}}\s*(?P<hash>.+?)|(?:\*\*|__)(?P<bold>[^*_].*?)(?:\*\*|__)\s*:?|
    criterion\s*\d*\s*:\s*(?P<word>.+?))\s*\#*\s*$""",
    re.IGNORECASE | re.VERBOSE,
)
_DECORATION = re.compile(r"^(?:criterion\s*\d*\s*[:.]\s*|\d+\s*[.)]\s*)+", re.IGNORECASE)
_SCALE = re.compile(r"\s*[\[(]\s*[-\d][^)\]]*(?:points?|pts?|[-\u2013]\s*\d+)[^)\]]*[)\]]\s*:?$", re.IGNORECASE)
_EXAMPLE = re.compile(r"^\s*(?:[-*]\s*)?\(?\s*(?:\*|_)?Example:?(?:\*|_)?:?\s*(?P<text>.*?)\)?\s*$", re.IGNORECASE)
_NOTE = re.compile(r"^\s*(?:[-*]\s*)?(?P<key>weight|polarity|instruction)\s*:\s*(?P<value>.*\S)\s*$", re.IGNORECASE)


@dataclass
class _Draft:
    """A criterion while it is being read."""

    line: int
    name: str
    attributes: dict[str, str]
    instruction: list[str] = field(default_factory=list)
    levels: dict[int, dict[str, str]] = field(default_factory=dict)
    last: list[int] = field(default_factory=list)


class _Reader:
    """Reads line by line; every line ends in a draft or in `problems`."""

    def __init__(self) -> None:
        self.criteria: list[Criterion] = []
        self.problems: list[Problem] = []
        self._draft: _Draft | None = None
        self._attributes: dict[str, str] = {}
        self._in_item = False

    def read(self, text: str) -> ParsedRubric:
        lines = text.splitlines()
        for number, line in enumerate(lines, 1):
            self._line(number, line)
        if self._in_item and self._draft is not None:
            why = "the text ends inside this item, so the criterion may be cut and is left out"
            self._problem(self._draft.line, self._draft.name, why)
            self._draft = None
        self._close()
        return ParsedRubric(tuple(self.criteria), tuple(self.problems))

    def _line(self, number: int, line: str) -> None:
        for piece in re.split(r"(</?(?:rubric|item)\b[^>]*>)", line, flags=re.IGNORECASE):
            if not piece.strip():
                continue
            if re.match(r"</?(rubric|item)\b", piece, re.IGNORECASE):
                self._tag(piece)
            else:
                self._text(number, piece.rstrip())

    def _tag(self, tag: str) -> None:
        self._close()
        opened = _OPEN.fullmatch(tag)
        self._in_item = opened is not None
        self._attributes = dict(_ATTRIBUTE.findall(opened["attributes"])) if opened else {}

    def _text(self, number: int, line: str) -> None:
        if level := _OWN_LEVEL.match(line) or _LEVEL.match(line):
            self._level(number, line, level)
        elif heading := self._heading(line):
            self._close()
            self._draft = _Draft(number, heading, self._attributes)
            self._attributes = {}
        elif self._draft is None:
            self._problem(number, line, "text outside of any criterion")
        else:
            self._prose(self._draft, line)

    def _heading(self, line: str) -> str | None:
        """The name in a heading line; the first plain line of an item counts as one."""
        if "id" in self._attributes and line.startswith("### "):
            return line.removeprefix("### ").strip()
        match = _HEADING.match(line)
        name = next((g for g in match.groups() if g), None) if match else None
        if name is None and self._in_item and self._draft is None:
            name = line
        if name is None:
            return None
        name = _DECORATION.sub("", name.strip().strip("*_").strip())
        return _SCALE.sub("", name).strip().rstrip(":").strip("*_").strip() or None

    def _level(self, number: int, line: str, match: re.Match[str]) -> None:
        if self._draft is None:
            if not self._in_item:
                self._problem(number, line, "a level outside of any criterion")
                return
            self._draft = _Draft(number, self._attributes.get("name", "criterion"), self._attributes)
        found = match.groupdict()
        low = match["low"].replace("\u2212", "-")
        high = found.get("high") or low
        if "." in low or "." in high:
            self._problem(number, line, "points must be whole numbers")
            return
        span = range(int(low), int(high) + 1)
        if not 1 <= len(span) <= MAX_RANGE:
            self._problem(number, line, f"a range of points must rise and hold at most {MAX_RANGE} of them")
            return
        taken = [p for p in span if p in self._draft.levels]
        if taken:
            self._problem(number, line, f"this criterion has a level of {taken[0]} points already")
        self._draft.last = [p for p in span if p not in taken]
        label = f"{found['label']}: " if found.get("label") else ""
        for points in self._draft.last:
            self._draft.levels[points] = {"description": label + match["text"]}

    def _prose(self, draft: _Draft, line: str) -> None:
        if note := _NOTE.match(line):
            if note["key"].lower() == "instruction":
                draft.instruction.append(note["value"])
            else:
                draft.attributes = {**draft.attributes, note["key"].lower(): note["value"].lower()}
        elif (example := _EXAMPLE.match(line)) and draft.last:
            for points in draft.last:
                draft.levels[points]["example"] = example["text"]
        elif draft.levels:
            for points in draft.last:
                draft.levels[points]["description"] += f" {line.strip()}"
        else:
            draft.instruction.append(line.strip())

    def _close(self) -> None:
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


def _criterion(draft: _Draft) -> Criterion:
    deducts = bool(draft.levels) and max(draft.levels) <= 0
    return Criterion.model_validate(
        {
            "id": draft.attributes.get("id") or slug(draft.name),
            "name": draft.name,
            "instruction": " ".join(draft.instruction),
            "levels": [{"points": p, **draft.levels[p]} for p in sorted(draft.levels)],
            "weight": draft.attributes.get("weight", 1.0),
            "polarity": draft.attributes.get("polarity", "negative" if deducts else "positive"),
            "pinned": draft.attributes.get("pinned", "false") == "true",
        }
    )


def parse_rubric(text: str) -> ParsedRubric:
    """Read every criterion in a text. Never raises: what could not be read is in `problems`, with its line."""
    return _Reader().read(text)
