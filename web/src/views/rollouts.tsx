/** All rollouts: searched, filtered, in order, fast however many there are. */

import { useEffect, useState } from "preact/hooks";
import type { CriteriaAnswer, CriterionHistory, RolloutEntry, RolloutsAnswer, TreeAnswer } from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { usePages } from "../pages";
import { Bar, Flags, Line, Place } from "../parts/bits";
import { Choose, Field } from "../parts/choose";
import { Busy, Empty, Problem } from "../parts/state";
import { Window } from "../parts/window";
import { amend, href } from "../route";
import { embedded } from "../source";
import { number, short, visible, words } from "../text";

const ORDERS: [string, string][] = [
  ["newest", "newest first"],
  ["oldest", "oldest first"],
  ["best", "best first"],
  ["worst", "worst first"],
];
export const FILTERS = [
  "text",
  "from_step",
  "to_step",
  "min_reward",
  "max_reward",
  "flag",
  "criterion",
  "points",
  "revision",
  "split",
  "cluster",
  "has_verdict",
  "has_reward",
  "screened",
  "order",
  "prompt",
] as const;
const TYPING_MS = 350;
const A_PAGE = 100;
const [WIDE, NARROW] = [46, 92];

/** The list that a rollout was opened from, so that the next one can be gone to. */
export const lastList: { run: string; ids: string[]; address: string } = { run: "", ids: [], address: "" };

export function RolloutsView({ route, run }: ViewProps) {
  const base = `/v1/runs/${encodeURIComponent(route.run)}`;
  const asked = new URLSearchParams(
    FILTERS.flatMap((name) => (route.query.get(name) ? [[name, route.query.get(name) ?? ""]] : [])),
  );
  const path = `${base}/rollouts?${new URLSearchParams([...asked, ["limit", String(A_PAGE)]])}`;
  const paged = usePages<RolloutsAnswer, RolloutEntry>(path, (answer) => answer.rollouts);
  const isNarrow = useNarrow();
  useEffect(() => {
    Object.assign(lastList, { run: route.run, ids: paged.rows.map((row) => row.id), address: location.hash });
  }, [paged.rows, route.run, location.hash]);
  return (
    <div class="rollouts">
      <h1 class="hidden">Rollouts of {visible(route.run)}</h1>
      <Filters base={base} query={route.query} run={run} />
      {paged.refusal && <Problem refusal={paged.refusal} />}
      {paged.rows.length === 0 ? (
        paged.loading ? (
          <Busy what="rollouts" />
        ) : (
          !paged.refusal && (
            <Empty>
              <h2>{asked.size ? "No rollout is like that" : "No rollout yet"}</h2>
              <p>
                {asked.size ? (
                  <a href={href("rollouts", route.run)}>Show all of them</a>
                ) : (
                  "They appear here when the first step has been judged."
                )}
              </p>
            </Empty>
          )
        )
      ) : (
        <>
          <div class="rollout-head" aria-hidden="true">
            <span>where</span>
            <span>reward</span>
            <span>judge</span>
            <span>completion</span>
          </div>
          <Window
            rows={paged.rows}
            height={isNarrow ? NARROW : WIDE}
            label="Rollouts"
            keyOf={(row) => row.id}
            onNearEnd={paged.more}
            memory={path}
          >
            {(row) => <Row run={route.run} row={row} />}
          </Window>
          {embedded && (
            <p class="notice">
              This report holds {number(embedded.report.held[route.run], 9)} of{" "}
              {number(
                Object.values(run.n_rollouts).reduce((sum, n) => sum + n, 0),
                9,
              )}{" "}
              rollouts: those that meta steps read, and some of evenly spaced steps. <code>metapo ui</code> shows all.
            </p>
          )}
          <p class="muted small tally" role="status">
            {number(paged.rows.length, 9)} shown
            {paged.isWhole ? ", all there are" : paged.loading ? ", reading more …" : ", more as you scroll"}{" "}
            <button type="button" class="quiet" onClick={paged.again}>
              Read anew
            </button>
          </p>
        </>
      )}
    </div>
  );
}

function Row({ run, row }: { run: string; row: RolloutEntry }) {
  return (
    <a class="rollout-row" data-item href={href("rollout", run, [row.id])}>
      <Place entry={row} />
      <Bar value={row.reward} name="reward" />
      <span class="judged muted">{number(row.normalized)}</span>
      <span class="what">
        <Line text={row.snippet || "(empty)"} />
        <span class="tags">
          {row.screened && <span class="tag">{visible(row.screened)}</span>}
          {row.n_unscored > 0 && <span class="tag warn">{row.n_unscored} unscored</span>}
          <Flags flags={row.flags} />
        </span>
      </span>
    </a>
  );
}

function useNarrow(): boolean {
  const query = matchMedia("(max-width: 46rem)");
  const [narrow, set] = useState(query.matches);
  useEffect(() => {
    const changed = () => set(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return narrow;
}

interface FiltersProps {
  base: string;
  query: URLSearchParams;
  run: ViewProps["run"];
}

function Filters({ base, query, run }: FiltersProps) {
  const get = (name: string) => query.get(name) ?? "";
  const set = (name: string) => (value: string) => amend({ [name]: value });
  const tree = useAnswer<TreeAnswer>(`${base}/lineage?cluster=${encodeURIComponent(run.clusters[0] ?? "")}`);
  const history = useAnswer<CriteriaAnswer>(get("criterion") ? `${base}/criteria?max_steps=1` : null);
  const criterion = history.answer?.criteria.find((one) => one.id === get("criterion"));
  const [open, setOpen] = useState(false);
  const used = FILTERS.filter((name) => name !== "order" && query.get(name));
  const any = (words: string): [string, string] => ["", words];
  return (
    <form class="filters" role="search" aria-label="Filter rollouts" onSubmit={(event) => event.preventDefault()}>
      <Typed label="Text" name="text" query={query} wide placeholder="in prompt or completion" />
      <button type="button" class="narrow-only" aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? "Fewer filters" : "More filters"}
      </button>
      <div class={open ? "extra open" : "extra"}>
        <Typed label="From step" name="from_step" query={query} />
        <Typed label="to step" name="to_step" query={query} />
        <Typed label="Reward from" name="min_reward" query={query} />
        <Typed label="to" name="max_reward" query={query} />
        {run.flags.length > 0 && (
          <Choose
            label="Flag"
            value={get("flag")}
            onChange={set("flag")}
            options={[any("any"), ...run.flags.map(named)]}
          />
        )}
        <Choose
          label="Criterion"
          value={get("criterion")}
          onChange={(to) => amend({ criterion: to, points: null, has_verdict: null })}
          options={[any("any"), ...run.criteria.map(named)]}
        />
        {get("criterion") && (
          <Choose
            label="its verdict"
            value={get("has_verdict") ? "unscored" : get("points")}
            options={levels(criterion)}
            onChange={setVerdict}
          />
        )}
        <Choose
          label="Revision"
          value={get("revision")}
          onChange={set("revision")}
          options={[
            any("any"),
            ...(tree.answer?.nodes ?? [])
              .filter((node) => node.in_force_from !== null)
              .map((node): [string, string] => [node.id, `${short(node.id)} · from step ${node.in_force_from}`]),
          ]}
        />
        {run.clusters.length > 1 && (
          <Choose
            label="Cluster"
            value={get("cluster")}
            onChange={set("cluster")}
            options={[any("any"), ...run.clusters.map(named)]}
          />
        )}
        <Choose
          label="Kind"
          value={get("split") || (get("screened") ? "screened" : get("has_reward") ? "unscored" : "")}
          onChange={setKind}
          options={[
            any("all"),
            ["train", "training"],
            ["eval", "evaluation"],
            ["unscored", "unscored"],
            ["screened", "screened"],
          ]}
        />
        <Choose
          label="Order"
          value={get("order") || "newest"}
          onChange={(to) => amend({ order: to === "newest" ? null : to })}
          options={ORDERS}
        />
      </div>
      {used.length > 0 && (
        <button type="button" onClick={() => amend(Object.fromEntries(FILTERS.map((name) => [name, null])))}>
          Clear {used.length === 1 ? "the filter" : `${used.length} filters`}
        </button>
      )}
    </form>
  );
}

const named = (name: string): [string, string] => [name, words(name)];

const setVerdict = (to: string): void =>
  amend(to === "unscored" ? { points: null, has_verdict: "false" } : { points: to, has_verdict: null });

const setKind = (to: string): void =>
  amend({
    split: to === "train" || to === "eval" ? to : null,
    has_reward: to === "unscored" ? "false" : null,
    screened: to === "screened" ? "true" : null,
  });

function levels(criterion: CriterionHistory | undefined): [string, string][] {
  const [low, high] = [criterion?.min_points ?? 0, criterion?.max_points ?? 0];
  const all = criterion ? Array.from({ length: high - low + 1 }, (_, i) => String(high - i)) : [];
  return [
    ["", "any level"],
    ...all.map((points): [string, string] => [points, `${points} points`]),
    ["unscored", "no verdict"],
  ];
}

interface TypedProps {
  label: string;
  name: string;
  query: URLSearchParams;
  wide?: boolean;
  placeholder?: string;
}

/** A field that filters a moment after the last key. */
function Typed({ label, name, query, wide = false, placeholder }: TypedProps) {
  const inAddress = query.get(name) ?? "";
  const [text, setText] = useState(inAddress);
  useEffect(() => setText(inAddress), [inAddress]);
  useEffect(() => {
    if (text === inAddress) return;
    const wait = setTimeout(() => amend({ [name]: text }, true), TYPING_MS);
    return () => clearTimeout(wait);
  }, [text]);
  return <Field label={label} value={text} onInput={setText} numeric={!wide} placeholder={placeholder} />;
}
