/** A chart to take along: as SVG, as PNG drawn from the same SVG, and its numbers as CSV. */

import { align, extent, type Series, smooth, ticks, type Value } from "../series";
import { number, visible } from "../text";
import { colour } from "../theme";

export interface Mark {
  step: number;
  label: string;
  kind: "revision" | "onset";
}

export interface Drawing {
  title: string;
  series: Series[];
  marks: Mark[];
  /** Neighbours in a mean; 1 leaves the values alone. */
  window: number;
  /** First and last step shown; null for all. */
  range: [number, number] | null;
  /** The y axis begins at 0 even if no value does. */
  fromZero?: boolean;
}

const [WIDTH, HEIGHT] = [960, 420];
const FRAME = { left: 64, right: 24, top: 68, bottom: 48 };
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";

/** What is within the range: steps, and the values of each series as they are and smoothed. */
export function shown(drawing: Drawing): { xs: number[]; raw: Value[][]; smoothed: Value[][] } {
  const { xs, columns } = align(drawing.series);
  const [from, to] = drawing.range ?? [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  const kept = (column: Value[]) => column.filter((_, i) => (xs[i] ?? 0) >= from && (xs[i] ?? 0) <= to);
  return {
    xs: xs.filter((x) => x >= from && x <= to),
    raw: columns.map(kept),
    smoothed: columns.map((column) => kept(smoothGaps(column, drawing.window))),
  };
}

/** Smoothed over the values that there are: runs that record at other steps leave gaps in between. */
function smoothGaps(column: Value[], window: number): Value[] {
  const there = column.flatMap((y, i) => (y === null ? [] : [i]));
  const means = smooth(
    there.map((i) => column[i] ?? null),
    window,
  );
  const out: Value[] = column.map(() => null);
  there.forEach((i, n) => {
    out[i] = means[n] ?? null;
  });
  return out;
}

export function toSvg(drawing: Drawing): string {
  const { xs, raw, smoothed } = shown(drawing);
  const [low, high] = padded(extent([...raw, ...smoothed]), drawing.fromZero);
  const [first, last] = [xs[0] ?? 0, Math.max(xs[xs.length - 1] ?? 1, (xs[0] ?? 0) + 1)];
  const at = {
    x: (step: number) => FRAME.left + ((WIDTH - FRAME.left - FRAME.right) * (step - first)) / (last - first),
    y: (value: number) => HEIGHT - FRAME.bottom - ((HEIGHT - FRAME.top - FRAME.bottom) * (value - low)) / (high - low),
  };
  const ink = { text: colour("text"), muted: colour("muted"), grid: colour("grid"), page: colour("card") };
  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="${ink.page}"/>`,
    label(FRAME.left, 26, drawing.title, ink.text, 'font-size="17" font-weight="600"'),
    ...legend(drawing, ink.text),
    ...ticks(low, high).flatMap((y) => [
      line(FRAME.left, at.y(y), WIDTH - FRAME.right, at.y(y), ink.grid),
      label(FRAME.left - 8, at.y(y) + 4, number(y), ink.muted, 'text-anchor="end"'),
    ]),
    ...ticks(first, last, 10).map((x) => label(at.x(x), HEIGHT - FRAME.bottom + 18, String(x), ink.muted, MIDDLE)),
    label((FRAME.left + WIDTH - FRAME.right) / 2, HEIGHT - 8, "training step", ink.muted, MIDDLE),
    ...drawing.marks
      .filter((mark) => mark.step >= first && mark.step <= last)
      .map((mark) =>
        mark.kind === "onset"
          ? line(at.x(mark.step), FRAME.top, at.x(mark.step), HEIGHT - FRAME.bottom, colour("hack"), 'stroke-width="2"')
          : line(
              at.x(mark.step),
              FRAME.top,
              at.x(mark.step),
              HEIGHT - FRAME.bottom,
              ink.muted,
              'stroke-dasharray="2 3"',
            ),
      ),
    ...drawing.series.flatMap((series, i) => [
      ...(drawing.window > 1 ? [path(xs, raw[i] ?? [], at, series, 'stroke-width="1" opacity=".35"')] : []),
      path(xs, smoothed[i] ?? [], at, series, 'stroke-width="2.2"'),
    ]),
  ];
  const size = `width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="${FONT}" font-size="12">${parts.join("")}</svg>`;
}

/** The ends of an axis with some room beyond the values. */
export function padded([low, high]: [number, number], fromZero = false): [number, number] {
  const bottom = fromZero ? Math.min(0, low) : low;
  const room = (high - bottom || Math.abs(high) || 1) * 0.06;
  return [fromZero && bottom === 0 ? 0 : bottom - room, high + room];
}

const MIDDLE = 'text-anchor="middle"';

function legend(drawing: Drawing, ink: string): string[] {
  let x = FRAME.left;
  return drawing.series.flatMap((series) => {
    const name = nameOf(drawing, series);
    const here = x;
    x += 46 + name.length * 6.6;
    return [
      line(here, 48, here + 24, 48, colour(series.colour), `stroke-width="2.6" ${dashes(series)}`),
      label(here + 31, 52, name, ink),
    ];
  });
}

/** A series by its name, with its run where there are several. */
export function nameOf(drawing: { series: Series[] }, series: Series): string {
  const runs = new Set(drawing.series.map((one) => one.run));
  const names = new Set(drawing.series.map((one) => one.name));
  if (runs.size <= 1) return visible(series.name);
  return visible(names.size > 1 ? `${series.run}: ${series.name}` : series.run);
}

interface Place {
  x: (step: number) => number;
  y: (value: number) => number;
}

function path(xs: number[], ys: Value[], at: Place, series: Series, style: string): string {
  const points = xs.flatMap((x, i) => {
    const y = ys[i];
    return y === null || y === undefined ? [] : [`${at.x(x).toFixed(1)},${at.y(y).toFixed(1)}`];
  });
  return `<polyline points="${points.join(" ")}" fill="none" stroke="${colour(series.colour)}" stroke-linejoin="round" ${dashes(series)} ${style}/>`;
}

const dashes = (series: Series): string => (series.dash ? `stroke-dasharray="${series.dash.join(" ")}"` : "");

const line = (x1: number, y1: number, x2: number, y2: number, stroke: string, style = ""): string =>
  `<line x1="${x1.toFixed(1)}" y1="${y1.toFixed(1)}" x2="${x2.toFixed(1)}" y2="${y2.toFixed(1)}" stroke="${stroke}" ${style}/>`;

const label = (x: number, y: number, text: string, fill: string, style = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" fill="${fill}" ${style}>${escaped(visible(text))}</text>`;

const ESCAPES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

export const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => ESCAPES[c] ?? c);

/** One row per step, one column per series; empty where there is no value. The values are unsmoothed. */
export function toCsv(drawing: Drawing): string {
  const { xs, raw } = shown(drawing);
  const header = ["step", ...drawing.series.map((series) => nameOf(drawing, series))];
  const rows = xs.map((x, i) => [x, ...raw.map((column) => column[i] ?? "")]);
  return `${[header.map(cell), ...rows].map((row) => row.join(",")).join("\r\n")}\r\n`;
}

/** A name for a table: quoted, and never taken for a formula. */
const cell = (text: string): string => `"${(/^[=+\-@\t]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

export async function toPng(drawing: Drawing): Promise<Blob> {
  const image = new Image(WIDTH, HEIGHT);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(toSvg(drawing))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * WIDTH, 2 * HEIGHT];
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/png"),
  );
}

export function save(content: Blob | string, name: string, type = "text/plain"): void {
  const url = URL.createObjectURL(typeof content === "string" ? new Blob([content], { type }) : content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replace(/[^\w.-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
