/** One prompt across the steps: what was written on it as training went on. */

import type { PromptAnswer, RolloutEntry } from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { usePages } from "../pages";
import { Bar, Flags, Line, Prose } from "../parts/bits";
import { Chart } from "../parts/chart";
import { SideBySide } from "../parts/side";
import { Busy, Problem, Shown } from "../parts/state";
import { amend, href } from "../route";
import type { Series } from "../series";
import { number, plural, short } from "../text";

export function PromptView({ route, runs }: ViewProps) {
  const path = `/v1/runs/${encodeURIComponent(route.run)}/prompts/${encodeURIComponent(route.rest[0] ?? "")}`;
  const head = useAnswer<PromptAnswer>(path);
  const paged = usePages<PromptAnswer, RolloutEntry>(path, (answer) => answer.rollouts);
  const [a, b] = [route.query.get("a"), route.query.get("b")];
  const onZoom = (to: [number, number] | null) => amend({ steps: to && `${to[0]}-${to[1]}` });
  const range = route.query.get("steps")?.split("-").map(Number) as [number, number] | undefined;
  return (
    <>
      <nav class="bar-of-choices" aria-label="Back">
        <a class="button" href={href("rollouts", route.run)}>
          ← All rollouts
        </a>
      </nav>
      <h1>The same prompt across steps</h1>
      <Shown asked={head} what="the prompt">
        {(answer) => <Prose text={answer.prompt} />}
      </Shown>
      {paged.refusal && <Problem refusal={paged.refusal} />}
      {paged.rows.length > 1 && (
        <Chart
          title="Mean reward on this prompt"
          hint="Of all rollouts of a step"
          series={[meanBySteps(paged.rows)]}
          marks={[]}
          window={1}
          range={range?.length === 2 ? range : null}
          height={150}
          onZoom={onZoom}
        />
      )}
      {a && b && <SideBySide run={route.run} runs={runs} left={a} right={b} />}
      <h2>
        {plural(paged.rows.length, "rollout")}
        {!paged.isWhole && " so far"}
      </h2>
      <p class="muted">Choose two to read them side by side.</p>
      <ul class="rows">
        {paged.rows.map((row) => (
          <li key={row.id} class="chosen-row">
            {(["a", "b"] as const).map((side) => (
              <label key={side} class="pick" title={side === "a" ? "Left" : "Right"}>
                <span class="hidden">
                  {side === "a" ? "Left" : "Right"}: step {row.step}, number {row.position}
                </span>
                <input
                  type="radio"
                  name={side}
                  checked={route.query.get(side) === row.id}
                  onChange={() => amend({ [side]: row.id }, true)}
                />
              </label>
            ))}
            <a class="rollout-row" data-item href={href("rollout", route.run, [row.id])}>
              <span class="muted">
                step {row.step} · <span class="mono">{short(row.revision)}</span>
              </span>
              <Bar value={row.reward} name="reward" />
              <span class="judged muted">{number(row.normalized)}</span>
              <span class="what">
                <Line text={row.snippet || "(empty)"} />
                <span class="tags">
                  <Flags flags={row.flags} />
                </span>
              </span>
            </a>
          </li>
        ))}
      </ul>
      {paged.loading ? (
        <Busy what="rollouts" />
      ) : (
        !paged.isWhole && (
          <button type="button" onClick={paged.more}>
            More
          </button>
        )
      )}
    </>
  );
}

function meanBySteps(rows: RolloutEntry[]): Series {
  const sums = new Map<number, { sum: number; n: number }>();
  for (const row of rows) {
    if (row.reward === null || row.split !== "train") continue;
    const old = sums.get(row.step) ?? { sum: 0, n: 0 };
    sums.set(row.step, { sum: old.sum + row.reward, n: old.n + 1 });
  }
  const steps = [...sums.keys()].sort((x, y) => x - y);
  return {
    name: "reward",
    run: "",
    colour: "judge",
    xs: steps,
    ys: steps.map((step) => {
      const at = sums.get(step);
      return at ? at.sum / at.n : null;
    }),
  };
}
