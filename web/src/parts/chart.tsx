/** Lines over training steps: zoomed by dragging, read under the pointer or by the arrow keys, taken along as a file. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { extent } from "../series";
import { number, visible, words } from "../text";
import { colour, useColours } from "../theme";
import { type Drawing, nameOf, padded, save, shown, toCsv, toPng, toSvg } from "./figure";
import { Menu } from "./menu";

interface Props extends Drawing {
  height?: number;
  /** What is measured, in a line for those who meet it for the first time. */
  hint?: string;
  onZoom: (range: [number, number] | null) => void;
  format?: (value: number | null | undefined) => string;
}

const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif";
const MOST_ROWS = 400;

export function Chart(props: Props) {
  const { title, series, marks, height = 190, hint, format = number } = props;
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const zoom = useRef(props.onZoom);
  zoom.current = props.onZoom;
  const colours = useColours();
  const [at, setAt] = useState<number | null>(null);
  const [tabled, setTabled] = useState(false);
  const data = useMemo(() => shown(props), [series, props.window, props.range]);
  const look = JSON.stringify([
    series.map((s) => [s.name, s.run, s.colour, s.dash]),
    marks,
    props.window > 1,
    colours,
    height,
  ]);

  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const made = new uPlot(options(props, box, setAt, zoom), columns(data), box);
    plot.current = made;
    const sized = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: box.clientHeight }));
    sized.observe(box);
    return () => {
      sized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [look]);
  useEffect(() => plot.current?.setData(columns(data)), [data]);

  const last = data.xs.length - 1;
  const here = at === null || at > last ? last : at;
  const move = (to: number) => {
    const u = plot.current;
    const index = Math.max(0, Math.min(last, to));
    if (u && last >= 0) u.setCursor({ left: u.valToPos(data.xs[index] ?? 0, "x"), top: 10 });
    setAt(index);
  };
  const pressed = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (by !== undefined) move(here + by);
    else if (event.key === "Home") move(0);
    else if (event.key === "End") move(last);
    else if (event.key === "0") props.onZoom(null);
    else if (event.key === "+" || event.key === "=") props.onZoom(around(data.xs, here));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const values = series.map((one, i) => `${nameOf(props, one)} ${format(data.smoothed[i]?.[here])}`);
  const isEmpty = !data.raw.some((column) => column.some((y) => y !== null));

  return (
    <figure class="chart">
      <figcaption>
        <h3 title={hint}>{title}</h3>
        <Menu label={`Take along or read “${title}”`}>
          <button type="button" onClick={() => setTabled(!tabled)}>
            {tabled ? "Hide the numbers" : "Show the numbers"}
          </button>
          <button type="button" onClick={async () => save(await toPng(props), `${title}.png`)}>
            Figure as PNG
          </button>
          <button type="button" onClick={() => save(toSvg(props), `${title}.svg`, "image/svg+xml")}>
            Figure as SVG
          </button>
          <button type="button" onClick={() => save(toCsv(props), `${title}.csv`, "text/csv")}>
            Data as CSV
          </button>
        </Menu>
        <ul class="legend">
          {series.map((one, i) => (
            <li key={`${one.run} ${one.name}`}>
              <Swatch colour={one.colour} dash={one.dash} />
              <span class="name">{nameOf(props, one)}</span> <b>{format(data.smoothed[i]?.[here])}</b>
            </li>
          ))}
          <li class="muted at">{last < 0 ? "" : at === null ? `at step ${data.xs[here]}` : `step ${data.xs[here]}`}</li>
        </ul>
      </figcaption>
      <div
        class="plot"
        role="slider"
        tabIndex={0}
        aria-label={`${title}, by training step. Left and right move, plus zooms in, 0 shows all.`}
        aria-valuemin={data.xs[0] ?? 0}
        aria-valuemax={data.xs[last] ?? 0}
        aria-valuenow={data.xs[here] ?? 0}
        aria-valuetext={last < 0 ? "no values yet" : `step ${data.xs[here]}: ${values.join(", ")}`}
        onKeyDown={pressed}
        onDblClick={() => props.onZoom(null)}
        ref={place}
        style={{ minHeight: `${height}px` }}
      >
        {isEmpty && <p class="none">Nothing measured {props.range ? "in these steps" : "yet"}</p>}
      </div>
      {tabled && <Numbers drawing={props} data={data} format={format} />}
    </figure>
  );
}

/** A third of what is shown, around a place in it. */
function around(xs: number[], here: number): [number, number] {
  const reach = Math.max(2, Math.round(xs.length / 6));
  return [xs[Math.max(0, here - reach)] ?? 0, xs[Math.min(xs.length - 1, here + reach)] ?? 1];
}

export function Swatch({ colour: token, dash }: { colour: string; dash?: number[] | undefined }) {
  return (
    <svg class="swatch" width="18" height="8" aria-hidden="true" style={{ color: `var(--${token})` }}>
      <line x1="0" x2="18" y1="4" y2="4" stroke="currentColor" stroke-width="2.5" stroke-dasharray={dash?.join(" ")} />
    </svg>
  );
}

function Numbers(props: { drawing: Drawing; data: ReturnType<typeof shown>; format: (y: number | null) => string }) {
  const { drawing, data, format } = props;
  const every = Math.ceil(data.xs.length / MOST_ROWS) || 1;
  return (
    <div class="numbers" tabIndex={0} role="region" aria-label={`Numbers of ${drawing.title}`}>
      <table>
        <caption>{every > 1 ? `Every ${every}th step; the CSV holds all` : "As recorded, not smoothed"}</caption>
        <thead>
          <tr>
            <th scope="col">step</th>
            {drawing.series.map((series) => (
              <th scope="col" key={`${series.run} ${series.name}`}>
                {nameOf(drawing, series)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {data.xs.map((x, i) =>
            i % every ? null : (
              <tr key={x}>
                <th scope="row">{x}</th>
                {data.raw.map((column, n) => (
                  <td key={n}>{format(column[i] ?? null)}</td>
                ))}
              </tr>
            ),
          )}
        </tbody>
      </table>
    </div>
  );
}

/** Thin lines as recorded, then thick ones smoothed; without smoothing only the latter. */
function columns(data: ReturnType<typeof shown>): uPlot.AlignedData {
  return [data.xs, ...data.raw, ...data.smoothed] as uPlot.AlignedData;
}

function options(
  props: Props,
  box: HTMLElement,
  tell: (at: number | null) => void,
  zoom: { current: Props["onZoom"] },
): uPlot.Options {
  const ink = { muted: colour("muted"), grid: colour("grid"), hack: colour("hack") };
  const axis = { stroke: ink.muted, font: FONT, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false } };
  const drawn = (thin: boolean): uPlot.Series[] =>
    props.series.map((series) => ({
      label: series.name,
      stroke: colour(series.colour),
      width: thin ? 1 : 2,
      alpha: thin ? 0.32 : 1,
      show: thin ? props.window > 1 : true,
      dash: series.dash ?? [],
      spanGaps: true,
      points: { show: false },
    }));
  return {
    width: box.clientWidth,
    height: box.clientHeight,
    legend: { show: false },
    padding: [8, 12, 0, 0],
    scales: {
      x: { time: false },
      y: { range: (u) => padded(extent(u.data.slice(1) as (number | null)[][]), props.fromZero) },
    },
    axes: [
      { ...axis, space: 56, size: 28, incrs: WHOLE },
      { ...axis, size: widthOf, space: 34, values: (_, ys) => ys.map((y) => (props.format ?? number)(y)) },
    ],
    series: [{ label: "step" }, ...drawn(true), ...drawn(false)],
    cursor: {
      y: false,
      points: {
        size: 7,
        show: (u, i) => (i > props.series.length ? uPlot.prototype && dot(u, i) : false) as HTMLElement,
      },
      drag: { x: true, y: false, setScale: false },
      sync: { key: "steps", scales: ["x", null], filters: { pub: (type) => /mousemove|mouseleave/.test(type) } },
    },
    hooks: {
      setCursor: [(u) => tell(u.cursor.left !== undefined && u.cursor.left >= 0 ? (u.cursor.idx ?? null) : null)],
      setSelect: [
        (u) => {
          const { left, width: wide } = u.select;
          if (wide > 5) zoom.current([Math.floor(u.posToVal(left, "x")), Math.ceil(u.posToVal(left + wide, "x"))]);
          if (wide > 0) u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        },
      ],
      drawAxes: [(u) => drawMarks(u, props, ink)],
    },
  };
}

/** Room for the longest label beside the axis. */
const widthOf = (_: uPlot, labels: string[] | null): number =>
  Math.max(40, 14 + 6.4 * Math.max(0, ...(labels ?? []).map((label) => label.length)));

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 1_000_000];

function dot(u: uPlot, i: number): HTMLElement {
  const point = document.createElement("div");
  const stroke = u.series[i]?.stroke;
  point.className = "u-cursor-pt";
  point.style.background = typeof stroke === "function" ? String(stroke(u, i)) : String(stroke);
  return point;
}

/** A dotted line where a revision came into force, a full one where hacking set in. */
function drawMarks(u: uPlot, props: Props, ink: { muted: string; hack: string }): void {
  const { ctx, bbox } = u;
  ctx.save();
  for (const mark of props.marks) {
    const x = Math.round(u.valToPos(mark.step, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    const isOnset = mark.kind === "onset";
    ctx.beginPath();
    ctx.strokeStyle = isOnset ? ink.hack : ink.muted;
    ctx.lineWidth = (isOnset ? 1.6 : 1) * devicePixelRatio;
    ctx.setLineDash(isOnset ? [] : [2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (props.height && props.height > 220)
      writeMark(ctx, visible(words(mark.label)), x, bbox, isOnset ? 2 : 1, isOnset ? ink.hack : ink.muted);
  }
  ctx.restore();
}

/** Right of its line, or left of it where the drawing ends. */
function writeMark(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  box: uPlot.BBox,
  row: number,
  ink: string,
): void {
  ctx.font = `${10 * devicePixelRatio}px ${FONT.slice(5)}`;
  ctx.fillStyle = ink;
  const gap = 4 * devicePixelRatio;
  const isAtEnd = x + gap + ctx.measureText(text).width > box.left + box.width;
  ctx.textAlign = isAtEnd ? "right" : "left";
  ctx.textBaseline = "alphabetic";
  ctx.fillText(text, isAtEnd ? x - gap : x + gap, box.top + (12 * row - 2) * devicePixelRatio);
}
