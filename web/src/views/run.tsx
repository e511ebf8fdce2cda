/** One run over its steps, or several laid over one another: what the judge gave, and what it was worth. */

import type { Mark as Happened, MetricsAnswer, RunAnswer } from "../answers";
import type { ViewProps } from "../app";
import { useMetrics } from "../metrics";
import { Chart } from "../parts/chart";
import { Choose } from "../parts/choose";
import type { Mark } from "../parts/figure";
import { Menu } from "../parts/menu";
import { Busy, Empty, Problem } from "../parts/state";
import { amend, href } from "../route";
import type { Series } from "../series";
import { dollars, number, plural, short, visible, words } from "../text";
import { CHARTS, drawnSeries, extraCharts, summary, type Tile } from "./figures";

const WINDOWS: [string, string][] = [
  ["1", "off"],
  ["5", "5 steps"],
  ["11", "11 steps"],
  ["21", "21 steps"],
  ["51", "51 steps"],
];
const CAME: Happened["kind"][] = ["adopted", "rolled_back", "person"];
const MOST_RUNS = 8;

export function RunView({ route, runs, run }: ViewProps) {
  const others = (route.query.get("with") ?? "").split(",").filter((name) => runs.runs.some((one) => one.run === name));
  const names = [route.run, ...others.filter((name) => name !== route.run)].slice(0, MOST_RUNS);
  const metrics = useMetrics(names);
  const mine = metrics.get(route.run);
  const detail = detailColumns(mine?.answer ?? null, names.length, route.query.getAll("more").join(","));
  const details = useMetrics(detail ? names : [], detail);

  const window = Number(route.query.get("smooth") ?? "5");
  const range = readRange(route.query.get("steps"));
  const onZoom = (to: [number, number] | null) => amend({ steps: to && `${to[0]}-${to[1]}` });
  if (!mine?.answer) return mine?.refusal ? <Problem refusal={mine.refusal} /> : <Busy what="the figures" />;

  const happened = mine.answer.marks.filter((mark) => CAME.includes(mark.kind));
  const marks = [
    ...happened.map((mark, i): Mark => ({ step: mark.step, label: String(i + 1), kind: "revision" })),
    ...mine.answer.marks
      .filter(isOnset)
      .map((mark): Mark => ({ step: mark.step, label: "onset of hacking", kind: "onset" })),
  ];
  const answers = new Map(names.map((name) => [name, metrics.get(name)?.answer ?? null]));
  const more = new Map(names.map((name) => [name, details.get(name)?.answer ?? null]));
  const common = { marks, window, range, onZoom };
  const charts = [...CHARTS, ...extraCharts(route.query.get("more") ?? "")]
    .map((chart) => ({ chart, series: drawnSeries(chart, answers, more, names) }))
    .filter(({ chart, series }) => series.length > 0 || chart.always);
  const flat = charts.filter(({ chart, series }) => !chart.always && series.every(isFlat));
  const [main, ...rest] = charts.filter((one) => !flat.includes(one));
  const isEmpty = (mine.answer.series.find((rows) => rows.kind === "train")?.step.length ?? 0) === 0;

  return (
    <>
      <h1 class="hidden">Run {visible(route.run)}</h1>
      <Tiles tiles={summary(mine.answer, run)} />
      {mine.refusal && mine.refusal.status !== 0 && <Problem refusal={mine.refusal} />}
      <div class="bar-of-choices">
        <Choose
          label="Smoothing"
          value={String(window)}
          options={WINDOWS}
          onChange={(to) => amend({ smooth: to === "5" ? null : to }, true)}
        />
        <More answer={mine.answer} chosen={route.query.get("more") ?? ""} />
        {runs.runs.length > 1 && (
          <Others
            runs={runs.runs.filter((one) => !one.problem && one.run !== route.run).map((one) => one.run)}
            chosen={names.slice(1)}
          />
        )}
        <span class="room" />
        {range ? (
          <button type="button" onClick={() => onZoom(null)}>
            Steps {range[0]} to {range[1]} · show all
          </button>
        ) : (
          <span class="muted small wide-only">Drag over a chart to zoom in</span>
        )}
      </div>
      {isEmpty ? (
        <Empty>
          <h2>No step is done yet</h2>
          <p>The first figures appear here when the first training step has been judged.</p>
        </Empty>
      ) : (
        <>
          {main && <Chart {...common} {...main.chart} series={main.series} height={310} />}
          <Happenings run={route.run} marks={mine.answer.marks} />
          <div class="charts">
            {rest.map(({ chart, series }) => (
              <Chart key={chart.title} {...common} {...chart} series={series} />
            ))}
          </div>
          {flat.length > 0 && (
            <p class="muted small">0 in every step: {flat.map(({ chart }) => chart.title.toLowerCase()).join(", ")}.</p>
          )}
        </>
      )}
      <Facts run={run} />
    </>
  );
}

/** Nothing but zeros: said in a line, not drawn. */
const isFlat = (series: Series): boolean => series.ys.every((y) => !y);

const isOnset = (mark: Happened): boolean => mark.kind === "onset" || mark.kind === "gold_onset";

function readRange(text: string | null): [number, number] | null {
  const found = /^(\d+)-(\d+)$/.exec(text ?? "");
  return found && Number(found[1]) < Number(found[2]) ? [Number(found[1]), Number(found[2])] : null;
}

/** The columns beyond the usual ones that the page needs; "" for none. */
function detailColumns(answer: MetricsAnswer | null, nRuns: number, more: string): string {
  const train = answer?.names.train ?? [];
  const single = nRuns === 1 ? train.filter((name) => /^(flag|hack)\//.test(name)) : [];
  const asked = more
    .split(",")
    .filter(Boolean)
    .map((name) => name.replace(/^\w+:/, ""));
  return [...new Set([...single, ...asked])].sort().join(",");
}

function Tiles({ tiles }: { tiles: Tile[] }) {
  return (
    <dl class="tiles">
      {tiles.map((tile) => (
        <div key={tile.name} class={tile.kind} title={tile.hint}>
          <dt>{tile.name}</dt>
          <dd>
            {tile.value}
            {tile.more && <small>{tile.more}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}

/** Any other figure that the run recorded, as a chart of its own. */
function More({ answer, chosen }: { answer: MetricsAnswer; chosen: string }) {
  const list = chosen.split(",").filter(Boolean);
  const all = Object.entries(answer.names).flatMap(([kind, names]) => names.map((name) => `${kind}:${name}`));
  const left = all.filter((name) => !list.includes(name));
  return (
    <>
      <Choose
        label="Add a chart"
        value=""
        options={[
          ["", "any other figure …"],
          ...left.map((name): [string, string] => [name, words(name.replace(":", ": "))]),
        ]}
        onChange={(name) => amend({ more: [...list, name].join(",") })}
      />
      {list.length > 0 && (
        <button type="button" class="quiet" onClick={() => amend({ more: list.slice(0, -1).join(",") })}>
          Take the last one away
        </button>
      )}
    </>
  );
}

function Others({ runs, chosen }: { runs: string[]; chosen: string[] }) {
  const turn = (name: string, on: boolean) =>
    amend({ with: (on ? [...chosen, name] : chosen.filter((one) => one !== name)).join(",") });
  return (
    <Menu
      label="Lay other runs over this one"
      stays
      face={chosen.length ? `Laid over: ${plural(chosen.length, "run")}` : "Lay runs over this one"}
    >
      <fieldset>
        <legend class="hidden">Runs laid over this one</legend>
        {runs.map((name) => (
          <label class="check" key={name}>
            <input
              type="checkbox"
              checked={chosen.includes(name)}
              disabled={!chosen.includes(name) && chosen.length >= MOST_RUNS - 1}
              onChange={(event) => turn(name, event.currentTarget.checked)}
            />
            {visible(name)}
          </label>
        ))}
      </fieldset>
    </Menu>
  );
}

const KIND: Partial<Record<Happened["kind"], string>> = {
  rolled_back: "rolled back",
  person: "by a person",
  waiting: "waits",
  onset: "onset of hacking",
  gold_onset: "onset of hacking",
  resumed: "resumed",
};

/** The marks in words: what each number on the charts stands for. */
function Happenings({ run, marks }: { run: string; marks: Happened[] }) {
  const refused = marks.filter((mark) => mark.kind === "rejected");
  const rest = marks.filter((mark) => mark.kind !== "rejected");
  const came = rest.filter((mark) => CAME.includes(mark.kind));
  return (
    <section class="happenings" aria-label="What happened">
      {rest.length > 0 && (
        <ol>
          {rest.map((mark, i) => {
            const sign = CAME.includes(mark.kind) ? String(came.indexOf(mark) + 1) : isOnset(mark) ? "!" : "·";
            return <Happening key={i} run={run} mark={mark} sign={sign} />;
          })}
        </ol>
      )}
      {refused.length > 0 && (
        <details>
          <summary>{plural(refused.length, "proposal")} rejected by the gate</summary>
          <ol>
            {refused.map((mark, i) => (
              <Happening key={i} run={run} mark={mark} sign="·" />
            ))}
          </ol>
        </details>
      )}
    </section>
  );
}

function Happening({ run, mark, sign }: { run: string; mark: Happened; sign: string }) {
  return (
    <li class={mark.kind}>
      <b class="number">{sign}</b>
      <span class="muted">step {mark.step}</span>
      <span>
        {mark.revision && (
          <>
            <a class="mono" href={href("rubric", run, [], { cluster: mark.cluster, to: mark.revision })}>
              {short(mark.revision)}
            </a>{" "}
          </>
        )}
        {KIND[mark.kind] && <b>{KIND[mark.kind]}: </b>}
        {mark.cluster && <span class="tag">{visible(mark.cluster)}</span>} <bdi>{visible(mark.text)}</bdi>
      </span>
    </li>
  );
}

function Facts({ run }: { run: RunAnswer }) {
  const rollouts = Object.entries(run.n_rollouts).map(([split, n]) => `${number(n, 9)} ${split}`);
  return (
    <details class="facts">
      <summary>Settings, cost and who answered</summary>
      <div class="columns">
        <section>
          <h2>What it is</h2>
          <dl class="pairs">
            <dt>Place</dt>
            <dd>{visible(run.entry.place)}</dd>
            <dt>Task</dt>
            <dd>{visible(run.entry.task) || "–"}</dd>
            <dt>Rollouts</dt>
            <dd>{rollouts.join(", ") || "none"}</dd>
            {run.attempts.map((attempt) => (
              <>
                <dt>{attempt.resumed_step ? `Resumed after step ${attempt.resumed_step}` : "Begun"}</dt>
                <dd>{new Date(attempt.started_at).toLocaleString()}</dd>
              </>
            ))}
            {Object.entries(run.answered_by).map(([role, identity]) => (
              <>
                <dt>{visible(words(role))}</dt>
                <dd>{visible(identity)}</dd>
              </>
            ))}
          </dl>
          {run.stopped && (
            <p class="state problem">
              <bdi>{visible(run.stopped)}</bdi>
            </p>
          )}
        </section>
        <section>
          <h2>What it cost</h2>
          <Spent run={run} />
        </section>
      </div>
      <h2>Settings</h2>
      <pre class="prose mono" tabIndex={0}>
        {visible(JSON.stringify(run.settings, null, 2))}
      </pre>
    </details>
  );
}

function Spent({ run }: { run: RunAnswer }) {
  if (run.spent.length === 0) return <p class="muted">Nothing was asked of any endpoint yet.</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="What it cost">
      <table>
        <thead>
          <tr>
            <th scope="col">role</th>
            <th scope="col">model</th>
            <th scope="col">calls</th>
            <th scope="col">failed</th>
            <th scope="col">tokens</th>
            <th scope="col">US dollars</th>
          </tr>
        </thead>
        <tbody>
          {run.spent.map((on) => (
            <tr key={`${on.role} ${on.model}`}>
              <th scope="row">{visible(words(on.role))}</th>
              <td>{visible(on.model)}</td>
              <td>{number(on.n_calls, 9)}</td>
              <td>{number(on.n_failed, 9)}</td>
              <td>{number(on.prompt_tokens + on.completion_tokens, 12)}</td>
              <td>{dollars(on.cost_usd)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
