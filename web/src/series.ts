/** Numbers over steps: how they are smoothed, put side by side and cut to what is shown. */

export type Value = number | null;

/** One line of a chart; `ys` belongs to `xs`, steps that rise. */
export interface Series {
  name: string;
  /** Whose it is where several runs share a chart. */
  run: string;
  /** A token of the style sheet. */
  colour: string;
  dash?: number[];
  xs: number[];
  ys: Value[];
}

/** Means over a window of `n` neighbours, centred; gaps stay gaps and count in no mean. */
export function smooth(ys: Value[], n: number): Value[] {
  if (n <= 1) return ys;
  const half = Math.floor(n / 2);
  const sums = [0];
  const counts = [0];
  ys.forEach((y, i) => {
    sums.push((sums[i] ?? 0) + (y ?? 0));
    counts.push((counts[i] ?? 0) + (y === null ? 0 : 1));
  });
  return ys.map((y, i) => {
    if (y === null) return null;
    const [from, to] = [Math.max(0, i - half), Math.min(ys.length, i + half + 1)];
    return ((sums[to] ?? 0) - (sums[from] ?? 0)) / ((counts[to] ?? 0) - (counts[from] ?? 0));
  });
}

/** All series on one axis: the steps that any has, and each one's values there. */
export function align(series: Series[]): { xs: number[]; columns: Value[][] } {
  const xs = [...new Set(series.flatMap((one) => one.xs))].sort((a, b) => a - b);
  const columns = series.map((one) => {
    const at = new Map(one.xs.map((x, i) => [x, one.ys[i] ?? null]));
    return xs.map((x) => at.get(x) ?? null);
  });
  return { xs, columns };
}

/** The smallest and largest value; [0, 1] where there is none. */
export function extent(columns: Value[][]): [number, number] {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const column of columns) {
    for (const y of column) {
      if (y === null) continue;
      if (y < low) low = y;
      if (y > high) high = y;
    }
  }
  return low > high ? [0, 1] : [low, high];
}

/** The mean of the last `n` values that there are, counted back from the end. */
export function lately(ys: Value[], n = 10): Value {
  const last = ys.slice(-n).filter((y): y is number => y !== null);
  return last.length ? last.reduce((a, b) => a + b) / last.length : null;
}

/** Round numbers between two ends, at most `n` or so. */
export function ticks(low: number, high: number, n = 5): number[] {
  const rough = (high - low) / n || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((m) => m * power >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(0, count) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
