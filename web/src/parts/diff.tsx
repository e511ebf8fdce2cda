/** What changed from one rubric to another, word by word. */

import type { CriterionDiff, DiffAnswer, FieldDiff, Word } from "../answers";
import { number, plural, visible } from "../text";

const SAID: Record<string, string> = { "+": "added", "-": "removed", "~": "changed", " ": "the same" };
const BRIEF = new Set(["weight", "polarity", "pinned", "evidence"]);

export function Diff({ diff, whole }: { diff: DiffAnswer; whole: boolean }) {
  const shown = whole ? diff.criteria : diff.criteria.filter((criterion) => criterion.change !== " ");
  const same = diff.criteria.length - shown.length;
  return (
    <div class="diff">
      {shown.map((criterion) => (
        <Criterion key={criterion.id + criterion.change} criterion={criterion} whole={whole} />
      ))}
      {shown.length === 0 && <p class="muted">Not a word differs.</p>}
      {same > 0 && shown.length > 0 && (
        <p class="muted">{plural(same, "criterion", "criteria")} stayed as they were.</p>
      )}
    </div>
  );
}

function Criterion({ criterion, whole }: { criterion: CriterionDiff; whole: boolean }) {
  const fields = criterion.fields.filter((field) => whole || criterion.change === "+" || field.change !== " ");
  const brief = fields.filter((field) => BRIEF.has(field.field));
  const long = fields.filter(
    (field) => !BRIEF.has(field.field) && !(field.field === "name" && criterion.change !== "~"),
  );
  return (
    <section class={`criterion change ${classOf(criterion.change)}`}>
      <h3>
        <span class={`tag ${classOf(criterion.change)}`}>{SAID[criterion.change]}</span>{" "}
        {visible(criterion.name || criterion.id)}
      </h3>
      {brief.length > 0 && (
        <p class="brief">
          {brief.map((field) => (
            <span key={field.field}>
              {field.field} <Words words={field.words} />
            </span>
          ))}
        </p>
      )}
      <dl class="levels">
        {long.map((field) => (
          <div key={`${field.field}${field.points}${field.change}`}>
            <dt>{nameOf(field)}</dt>
            <dd class={criterion.change === "~" ? classOf(field.change) : ""}>
              <Words words={field.words} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

const nameOf = (field: FieldDiff): string => (field.points === null ? field.field : number(field.points));

const classOf = (change: string): string => ({ "+": "added", "-": "removed", "~": "altered" })[change] ?? "same";

function Words({ words }: { words: Word[] }) {
  return (
    <span dir="auto">
      {words.map((word, i) =>
        word.change === "+" ? (
          <ins key={i}>{visible(word.text)}</ins>
        ) : word.change === "-" ? (
          <del key={i}>{visible(word.text)}</del>
        ) : (
          visible(word.text)
        ),
      )}
    </span>
  );
}
