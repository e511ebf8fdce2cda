/** The figures of runs, kept and added to as they come. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { MetricsAnswer, Series as Rows } from "./answers";
import { useTicks } from "./live";
import type { Value } from "./series";
import { ask, embedded, Refusal } from "./source";

export interface Metrics {
  answer: MetricsAnswer | null;
  refusal: Refusal | null;
}

/** The metrics of several runs, by run. Only what is new is asked for. */
export function useMetrics(runs: string[], columns = ""): Map<string, Metrics> {
  const ticks = useTicks();
  const known = useRef(new Map<string, Metrics>());
  const asking = useRef(new Set<string>());
  const [, redraw] = useState(0);
  useEffect(() => {
    for (const run of runs) {
      const key = `${run}\n${columns}`;
      if (asking.current.has(key)) continue;
      asking.current.add(key);
      void newer(run, columns, known.current.get(key)?.answer ?? null).then((metrics) => {
        asking.current.delete(key);
        known.current.set(key, metrics);
        redraw((n) => n + 1);
      });
    }
  }, [runs.join("\n"), columns, ticks]);
  return new Map(runs.map((run) => [run, known.current.get(`${run}\n${columns}`) ?? { answer: null, refusal: null }]));
}

async function newer(run: string, columns: string, old: MetricsAnswer | null): Promise<Metrics> {
  const query = new URLSearchParams(columns ? { columns } : {}); // a report holds all columns in one answer
  if (old && !embedded) {
    query.set("after", String(old.newest));
    query.set("generation", old.generation);
  }
  const asked = query.toString();
  try {
    const answer = await ask<MetricsAnswer>(`/v1/runs/${encodeURIComponent(run)}/metrics${asked && `?${asked}`}`);
    return { answer: merge(old, answer), refusal: null };
  } catch (e) {
    return { answer: old, refusal: e instanceof Refusal ? e : new Refusal(0, "unknown", String(e)) };
  }
}

/** What was known with what is new. A whole answer takes the place of the old one. */
export function merge(old: MetricsAnswer | null, answer: MetricsAnswer): MetricsAnswer {
  if (!old || answer.is_whole) return answer;
  const added = new Map(answer.series.map((rows) => [rows.kind, rows]));
  const kept = old.series.map((rows) => joined(rows, added.get(rows.kind)));
  const fresh = answer.series.filter((rows) => !old.series.some((other) => other.kind === rows.kind));
  return { ...answer, series: [...kept, ...fresh] };
}

function joined(old: Rows, added: Rows | undefined): Rows {
  if (!added?.step.length) return old;
  const names = new Set([...Object.keys(old.columns), ...Object.keys(added.columns)]);
  const nothing = (rows: Rows): Value[] => rows.step.map(() => null);
  return {
    kind: old.kind,
    step: [...old.step, ...added.step],
    columns: Object.fromEntries(
      [...names].map((name) => [
        name,
        [...(old.columns[name] ?? nothing(old)), ...(added.columns[name] ?? nothing(added))],
      ]),
    ),
  };
}

export interface Column {
  xs: number[];
  ys: Value[];
}

/** One column of one kind of rows; empty where the run has none. */
export function column(answer: MetricsAnswer | null, name: string, kind = "train"): Column {
  const rows = answer?.series.find((series) => series.kind === kind);
  return { xs: rows?.step ?? [], ys: rows?.columns[name] ?? rows?.step.map(() => null) ?? [] };
}

export const hasValues = ({ ys }: Column): boolean => ys.some((y) => y !== null);

/** The sum so far, at each step; null until there is anything to add up. */
export function summed({ xs, ys }: Column): Column {
  let sum: Value = null;
  return {
    xs,
    ys: ys.map((y) => {
      if (y !== null) sum = (sum ?? 0) + y;
      return sum;
    }),
  };
}
