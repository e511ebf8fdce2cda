/** The same prompts under two revisions, side by side. */

import type { Bridged, PairOfSides, PairsAnswer, RolloutEntry, TreeAnswer } from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { usePages } from "../pages";
import { Line } from "../parts/bits";
import { Choose } from "../parts/choose";
import { SideBySide } from "../parts/side";
import { Busy, Empty, Problem, Shown } from "../parts/state";
import { amend } from "../route";
import { number, plural, short, visible } from "../text";

export function PairsView({ route, runs, run }: ViewProps) {
  const cluster = route.query.get("cluster") ?? run.clusters[0] ?? "";
  const base = `/v1/runs/${encodeURIComponent(route.run)}`;
  const tree = useAnswer<TreeAnswer>(`${base}/lineage?cluster=${encodeURIComponent(cluster)}`);
  const scored = (tree.answer?.nodes ?? []).filter((node) => node.in_force_from !== null);
  const left = route.query.get("left") ?? scored[0]?.id ?? "";
  const right = route.query.get("right") ?? scored[scored.length - 1]?.id ?? "";
  const listed = scored.map((node): [string, string] => [
    node.id,
    `${short(node.id)} · from step ${node.in_force_from}`,
  ]);
  const options = (chosen: string): [string, string][] =>
    listed.some(([id]) => id === chosen) ? listed : [[chosen, `${short(chosen)} · never in force`], ...listed];
  return (
    <>
      <h1>Two revisions, side by side</h1>
      <div class="bar-of-choices">
        <Choose label="Left" value={left} options={options(left)} onChange={(id) => amend({ left: id, pair: null })} />
        <Choose
          label="Right"
          value={right}
          options={options(right)}
          onChange={(id) => amend({ right: id, pair: null })}
        />
      </div>
      {left && right && left !== right ? (
        <Pairs route={route} runs={runs} run={run} path={`${base}/pairs?left=${left}&right=${right}`} />
      ) : (
        <Empty>
          <p>Choose two revisions that differ.</p>
        </Empty>
      )}
    </>
  );
}

function Pairs({ route, runs, path }: ViewProps & { path: string }) {
  const head = useAnswer<PairsAnswer>(path);
  const paged = usePages<PairsAnswer, PairOfSides>(path, (answer) => answer.pairs);
  const chosen = paged.rows.find((pair) => pair.prompt_id === route.query.get("pair")) ?? paged.rows[0];
  const one = pick(chosen?.left, route.query.get("a"));
  const other = pick(chosen?.right, route.query.get("b"));
  const listed = (rollouts: RolloutEntry[]) =>
    rollouts.map((row): [string, string] => [row.id, `step ${row.step} · reward ${number(row.reward)}`]);
  return (
    <>
      <Shown asked={head} what="what both scored">
        {(answer) => answer.bridge && <Bridge bridge={answer.bridge} />}
      </Shown>
      {paged.refusal && <Problem refusal={paged.refusal} />}
      {!chosen &&
        (paged.loading ? (
          <Busy what="prompts" />
        ) : (
          !paged.refusal && (
            <Empty>
              <p>No prompt has rollouts under both revisions.</p>
            </Empty>
          )
        ))}
      {chosen && one && other && (
        <div class="split">
          <section class="side" aria-label="Prompts">
            <h2>
              {plural(paged.rows.length, "prompt")}
              {!paged.isWhole && " so far"}
            </h2>
            <ol class="rows">
              {paged.rows.map((pair) => (
                <li key={pair.prompt_id}>
                  <button
                    type="button"
                    class="row-button"
                    data-item
                    aria-current={pair === chosen ? "true" : undefined}
                    onClick={() => amend({ pair: pair.prompt_id, a: null, b: null })}
                  >
                    <Line text={pair.prompt_snippet} />
                    <span class="muted small">
                      {mean(pair.left)} → {mean(pair.right)}
                    </span>
                  </button>
                </li>
              ))}
            </ol>
            {!paged.isWhole && (
              <button type="button" disabled={paged.loading} onClick={paged.more}>
                More
              </button>
            )}
          </section>
          <section class="detail" aria-label="The two">
            <p class="prose" dir="auto">
              {visible(chosen.prompt_snippet)}
            </p>
            <div class="bar-of-choices">
              <Choose
                label="Left rollout"
                value={one.id}
                options={listed(chosen.left)}
                onChange={(a) => amend({ a })}
              />
              <Choose
                label="Right rollout"
                value={other.id}
                options={listed(chosen.right)}
                onChange={(b) => amend({ b })}
              />
            </div>
            <SideBySide run={route.run} runs={runs} left={one.id} right={other.id} />
          </section>
        </div>
      )}
    </>
  );
}

const pick = (rows: RolloutEntry[] | undefined, id: string | null): RolloutEntry | undefined =>
  rows?.find((row) => row.id === id) ?? rows?.[0];

function mean(rows: RolloutEntry[]): string {
  const rewards = rows.flatMap((row) => (row.reward === null ? [] : [row.reward]));
  return rewards.length ? number(rewards.reduce((a, b) => a + b) / rewards.length) : "unscored";
}

function Bridge({ bridge }: { bridge: Bridged }) {
  return (
    <p class="notice">
      At step {bridge.step} the same {plural(bridge.n, "rollout")} got both scores: {number(bridge.mean_before)} ±{" "}
      {number(bridge.spread_before)} under the left one, {number(bridge.mean_after)} ± {number(bridge.spread_after)}{" "}
      under the right one (mean and spread).
    </p>
  );
}
