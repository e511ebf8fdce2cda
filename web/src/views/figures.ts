/** Which figures of a run are drawn together, and those that sum it up. */

import type { MetricsAnswer, RunAnswer } from "../answers";
import { type Column, column, hasValues, summed } from "../metrics";
import { lately, type Series } from "../series";
import { dollars, number, share, signed, words } from "../text";

interface Measure {
  name: string;
  column: string;
  kind?: string;
  /** A token of the style sheet, where one run is drawn alone. */
  colour: string;
  dash?: number[];
  sum?: boolean;
}

export interface ChartOf {
  title: string;
  hint: string;
  measures: Measure[];
  /** Further columns by how they begin, drawn where one run is drawn alone. */
  prefix?: string;
  fromZero?: boolean;
  /** Stands there even without a value. */
  always?: boolean;
  format?: (value: number | null | undefined) => string;
}

const DASH = [6, 4];
const SHARES = /^(flag|hack)\//;

export const CHARTS: ChartOf[] = [
  {
    title: "Judge score and real quality",
    hint: "Mean of a step between 0 and 1: what the judge gives, and where it is known, what the work is worth",
    always: true,
    measures: [
      { name: "judge", column: "normalized", colour: "judge" },
      { name: "real quality", column: "gold", colour: "gold", dash: DASH },
      { name: "monitor", column: "monitor", colour: "monitor", dash: [2, 3] },
    ],
  },
  {
    title: "Reward",
    hint: "What was trained on, mean of a step",
    measures: [{ name: "reward", column: "reward", colour: "judge" }],
  },
  {
    title: "Raw score, points",
    hint: "The weighted sum of the points; its range changes with the rubric",
    measures: [{ name: "raw", column: "raw", colour: "judge" }],
  },
  {
    title: "Gap",
    hint: "How far the judge's score lies above the monitor's, or else above real quality; widening: above its lowest so far",
    measures: [
      { name: "gap", column: "gap", colour: "hack" },
      { name: "widening", column: "widening", colour: "muted", dash: DASH },
    ],
  },
  {
    title: "KL from the reference",
    hint: "How far the policy has moved, as the trainer measures it",
    fromZero: true,
    measures: [{ name: "kl", column: "kl", colour: "text" }],
  },
  {
    title: "Length, words",
    hint: "Mean length of a completion",
    measures: [{ name: "words", column: "words", colour: "text" }],
  },
  {
    title: "Flagged as hacks",
    hint: "Share of the completions that a static detector flags",
    fromZero: true,
    format: share,
    prefix: "flag/",
    measures: [{ name: "any", column: "flagged", colour: "text" }],
  },
  {
    title: "Hacks that are there",
    hint: "Share of the completions that do it, as the world knows",
    fromZero: true,
    format: share,
    prefix: "hack/",
    measures: [],
  },
  {
    title: "Judge failures",
    hint: "Share of the rollouts without a reward: they train nothing and count in no mean",
    fromZero: true,
    format: share,
    measures: [{ name: "unscored", column: "unscored", colour: "hack" }],
  },
  {
    title: "Groups without contrast",
    hint: "Share of the groups in which all rewards are equal: they teach nothing",
    fromZero: true,
    format: share,
    measures: [{ name: "saturated", column: "saturated", colour: "text" }],
  },
  {
    title: "Uncertainty of a verdict, points",
    hint: "Spread of the judge's own probabilities over the levels",
    fromZero: true,
    measures: [{ name: "uncertainty", column: "uncertainty", colour: "judge" }],
  },
  {
    title: "Cost of judging so far, US dollars",
    hint: "Of the endpoints that have a price",
    fromZero: true,
    format: dollars,
    measures: [{ name: "cost", column: "cost_usd", colour: "text", sum: true }],
  },
  {
    title: "Calls to the judge so far",
    hint: "Requests that were sent, tried again or not",
    fromZero: true,
    measures: [{ name: "calls", column: "calls", colour: "text", sum: true }],
  },
  {
    title: "Tokens of judging so far",
    hint: "Sent and received",
    fromZero: true,
    measures: [{ name: "tokens", column: "tokens", colour: "text", sum: true }],
  },
];

/** Charts of single figures, from `kind:name,kind:name`. */
export function extraCharts(more: string): ChartOf[] {
  return more.split(",").flatMap((text) => {
    const [kind, name] = text.split(/:(.*)/s);
    if (!kind || !name) return [];
    return [
      {
        title: words(`${kind}: ${name}`),
        hint: "",
        always: true,
        measures: [{ name: words(name), column: name, kind, colour: "judge" }],
      },
    ];
  });
}

const PALETTE = 8;

/** A chart's lines. With several runs a colour is a run, and the dashes tell the measures apart. */
export function drawnSeries(
  chart: ChartOf,
  answers: Map<string, MetricsAnswer | null>,
  more: Map<string, MetricsAnswer | null>,
  runs: string[],
): Series[] {
  return runs.flatMap((run, n) => {
    const answer = answers.get(run) ?? null;
    const detail = more.get(run) ?? null;
    const extra = runs.length === 1 && chart.prefix ? prefixed(detail, chart.prefix, chart.measures.length) : [];
    return [...chart.measures, ...extra].flatMap((measure): Series[] => {
      let values: Column = column(answer, measure.column, measure.kind);
      if (!hasValues(values)) values = column(detail, measure.column, measure.kind);
      if (SHARES.test(measure.column)) values = filled(values);
      if (measure.sum) values = summed(values);
      const isNothing = !hasValues(values) || (measure.sum && lately(values.ys) === 0);
      if (isNothing) return [];
      const colour = runs.length === 1 ? measure.colour : `run-${n % PALETTE}`;
      return [{ name: measure.name, run, colour, dash: measure.dash, ...values }];
    });
  });
}

/** Rows tell only of the detectors that fired; the others found nothing. */
const filled = ({ xs, ys }: Column): Column => ({ xs, ys: ys.map((y) => y ?? 0) });

function prefixed(answer: MetricsAnswer | null, prefix: string, before: number): Measure[] {
  const columns = answer?.series.find((rows) => rows.kind === "train")?.columns ?? {};
  return Object.keys(columns)
    .filter((name) => name.startsWith(prefix) && columns[name]?.some((y) => y !== null && y > 0))
    .map((name, i) => ({
      name: words(name.slice(prefix.length)),
      column: name,
      colour: `run-${(i + before) % PALETTE}`,
    }));
}

export interface Tile {
  name: string;
  value: string;
  more?: string;
  hint: string;
  kind: string;
}

/** The run in a few figures: means of the last ten steps, and how they moved since the first. */
export function summary(answer: MetricsAnswer, run: RunAnswer): Tile[] {
  const tile = (name: string, of: string, hint: string, kind = "", format = number, move = signed): Tile[] => {
    const values = column(answer, of);
    const now = lately(values.ys);
    if (now === null) return [];
    const first = values.ys.find((y) => y !== null) ?? null;
    const more = first === null || values.ys.length < 12 ? "" : `${move(now - first)} since start`;
    return [{ name, value: format(now), more, hint: `${hint}; mean of the last 10 steps`, kind }];
  };
  const cost = run.spent.reduce((sum, on) => sum + on.cost_usd, 0);
  const calls = run.spent.reduce((sum, on) => sum + on.n_calls, 0);
  const points = (value: number | null | undefined) => `${value && value > 0 ? "+" : ""}${share(value)}`;
  return [
    ...tile("Judge score", "normalized", "What the judge gives, between 0 and 1", "judge"),
    ...tile("Real quality", "gold", "What the work is worth, as the world knows", "gold"),
    ...tile("Monitor", "monitor", "What a second judge gives that training doesn't see", "monitor"),
    ...tile("Gap", "gap", "How far the judge's score lies above the monitor's or above real quality", "hack"),
    ...tile("KL", "kl", "How far the policy has moved from where it began"),
    ...tile("Words", "words", "Mean length of a completion"),
    ...tile("Flagged", "flagged", "Share that a static detector flags", "", share, points),
    ...tile("Unscored", "unscored", "Share without a reward", "", share, points),
    {
      name: "Cost",
      value: cost > 0 ? dollars(cost) : number(calls),
      more: cost > 0 ? `${number(calls)} calls` : "calls",
      hint: "All roles together: judge, meta model, gate, monitor",
      kind: "",
    },
  ];
}
