/** What the judge said, criterion by criterion. */

import type { VerdictShown } from "../answers";
import { number, visible, words } from "../text";
import { inkOf } from "./evidence";

interface Props {
  verdicts: VerdictShown[];
  active: number | null;
  onActive: (verdict: number | null) => void;
}

export function Verdicts({ verdicts, active, onActive }: Props) {
  return (
    <ol class="verdicts">
      {verdicts.map((verdict, i) => (
        <li
          key={verdict.criterion}
          class={active === i ? "active" : ""}
          onMouseEnter={() => onActive(i)}
          onMouseLeave={() => onActive(null)}
          onFocusCapture={() => onActive(i)}
          onBlurCapture={() => onActive(null)}
        >
          <Verdict verdict={verdict} ink={verdict.spans.length ? inkOf(i) : ""} />
        </li>
      ))}
    </ol>
  );
}

function Verdict({ verdict, ink }: { verdict: VerdictShown; ink: string }) {
  const { points, value, min_points, max_points } = verdict;
  return (
    <article tabIndex={verdict.spans.length ? 0 : undefined}>
      <header>
        <h3>
          {ink && <i class="ink" style={{ background: ink }} aria-hidden="true" />}
          <bdi>{visible(verdict.name || verdict.criterion)}</bdi>
        </h3>
        {points === null ? (
          <span class="tag warn">unscored: {visible(words(verdict.missing ?? "no verdict"))}</span>
        ) : (
          <Points points={points} value={value} low={min_points} high={max_points} />
        )}
      </header>
      {verdict.level && (
        <p class="muted" dir="auto">
          {visible(verdict.level)}
        </p>
      )}
      {verdict.rationale && <p dir="auto">{visible(verdict.rationale)}</p>}
      {verdict.quote && (
        <blockquote dir="auto">
          {visible(verdict.quote)}
          {verdict.spans.length === 0 && <span class="tag warn">not found in the completion</span>}
        </blockquote>
      )}
      {verdict.detail && (
        <p class="muted small" dir="auto">
          {visible(verdict.detail)}
        </p>
      )}
      <p class="muted small facts-line">
        weight {number(verdict.weight)}
        {verdict.uncertainty !== null && ` · uncertain by ${number(verdict.uncertainty)} points`}
        {verdict.label_mass !== null &&
          verdict.label_mass < 0.99 &&
          ` · levels had ${number(100 * verdict.label_mass)} % of the probability`}
      </p>
    </article>
  );
}

function Points(props: { points: number; value: number | null; low: number | null; high: number | null }) {
  const { points, value, low, high } = props;
  const shown = value ?? points;
  const isRange = low !== null && high !== null && high > low;
  return (
    <span
      class="points"
      title={value !== null && value !== points ? `level ${points}, expected ${number(value)}` : `level ${points}`}
    >
      {isRange && (
        <span class="track" aria-hidden="true">
          <i style={{ width: `${(100 * (shown - low)) / (high - low)}%` }} />
        </span>
      )}
      <b>{number(shown)}</b>
      {high !== null && (
        <span class="muted"> {low !== null && low < 0 ? `in ${number(low)} to ${high}` : `of ${high}`}</span>
      )}
    </span>
  );
}
