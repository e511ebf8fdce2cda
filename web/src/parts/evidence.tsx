/** A completion with the passages that verdicts cite. */

import type { Span, VerdictShown } from "../answers";
import { visible } from "../text";

const PALETTE = 8;

/** A run of text that the same verdicts cite; `cited` are their places in the list. */
export interface Piece {
  text: string;
  cited: number[];
}

/** The text cut where a citation begins or ends. Spans count code points. */
export function pieces(text: string, spansOf: Span[][]): Piece[] {
  const points = Array.from(text);
  const spans = spansOf.flatMap((spans, verdict) => spans.map((span) => ({ ...span, verdict })));
  const within = (at: number) => Math.max(0, Math.min(points.length, at));
  const cuts = [
    ...new Set([0, points.length, ...spans.flatMap((span) => [within(span.start), within(span.end)])]),
  ].sort((a, b) => a - b);
  return cuts.slice(0, -1).map((from, i) => ({
    text: points.slice(from, cuts[i + 1]).join(""),
    cited: [...new Set(spans.filter((span) => span.start <= from && span.end > from).map((span) => span.verdict))],
  }));
}

interface Props {
  text: string;
  verdicts: VerdictShown[];
  /** The verdict whose evidence is looked for. */
  active: number | null;
  onActive?: (verdict: number | null) => void;
}

export function Evidence({ text, verdicts, active, onActive }: Props) {
  const cut = pieces(
    text,
    verdicts.map((verdict) => verdict.spans),
  );
  if (!text) return <div class="prose muted">(empty)</div>;
  return (
    <div class="prose evidence" dir="auto">
      {cut.map(({ text: part, cited }, i) => {
        const [first] = cited;
        if (first === undefined) return visible(part);
        const names = cited.map((n) => visible(verdicts[n]?.name || verdicts[n]?.criterion || "")).join(", ");
        const isActive = active !== null && cited.includes(active);
        return (
          <mark
            key={i}
            class={isActive ? "active" : ""}
            style={{ "--ink": inkOf(isActive && active !== null ? active : first) }}
            title={`Evidence for ${names}`}
            onMouseEnter={() => onActive?.(first)}
            onMouseLeave={() => onActive?.(null)}
          >
            {visible(part)}
          </mark>
        );
      })}
    </div>
  );
}

export const inkOf = (verdict: number): string => `var(--run-${verdict % PALETTE})`;
