/** Each criterion over the steps: what it gave, how it spread, how often it was passed, whether it says anything new. */

import type { CriteriaAnswer, CriterionHistory, Node } from "../answers";
import { useAnswer } from "../ask";
import { Chart } from "../parts/chart";
import { Choose } from "../parts/choose";
import type { Mark } from "../parts/figure";
import { Shown } from "../parts/state";
import { amend } from "../route";
import { lately } from "../series";
import { number, share, visible } from "../text";

const MEASURES = {
  mean: ["Points", "Mean of the points given in a step"],
  variance: ["Variance", "Of the points in a step: one that never varies teaches nothing"],
  passed: ["Pass rate", "Share of the verdicts at the best level"],
  correlation: [
    "Correlation with the rest",
    "Between its points and the weighted sum of all others': 1 says the same again, below 0 against them",
  ],
  unscored: ["Unscored", "Share without a verdict"],
} as const;
type Measure = keyof typeof MEASURES;
const PALETTE = 8;
const MOST_STEPS = 100;

interface Props {
  base: string;
  cluster: string;
  query: URLSearchParams;
  nodes: Node[];
}

export function Criteria({ base, cluster, query, nodes }: Props) {
  const measures = Object.keys(MEASURES) as Measure[];
  const measure = measures.find((one) => one === query.get("measure")) ?? "passed";
  const asked = useAnswer<CriteriaAnswer>(
    `${base}/criteria?cluster=${encodeURIComponent(cluster)}&max_steps=${MOST_STEPS}`,
  );
  const steps = nodes.flatMap((node) => (node.in_force_from ? [node.in_force_from] : []));
  const marks = steps.map((step): Mark => ({ step, label: "", kind: "revision" }));
  return (
    <section class="criteria" aria-label="History of the criteria">
      <header class="head">
        <h2>Its criteria over time</h2>
        <Choose
          bare
          label="Measure"
          value={measure}
          options={measures.map((one) => [one, MEASURES[one][0]])}
          onChange={(to) => amend({ measure: to === "passed" ? null : to }, true)}
        />
        <span class="muted">{MEASURES[measure][1]}</span>
      </header>
      <Shown asked={asked} what="the criteria's history">
        {(answer) => (
          <>
            <Chart
              title={MEASURES[measure][0]}
              hint={MEASURES[measure][1]}
              series={answer.criteria.map((criterion, i) => ({
                name: criterion.name || criterion.id,
                run: "",
                colour: `run-${i % PALETTE}`,
                dash: DASHES[Math.floor(i / PALETTE) % DASHES.length],
                xs: answer.steps,
                ys: criterion[measure],
              }))}
              marks={marks}
              window={Number(query.get("smooth") ?? "5")}
              range={null}
              height={260}
              onZoom={() => {}}
              format={measure === "passed" || measure === "unscored" ? share : number}
            />
            {answer.n_steps > answer.steps.length && (
              <p class="muted small">
                {answer.steps.length} of {number(answer.n_steps, 9)} steps, evenly spaced.
              </p>
            )}
            <Standings criteria={answer.criteria} />
          </>
        )}
      </Shown>
    </section>
  );
}

const DASHES: (number[] | undefined)[] = [undefined, [6, 4], [2, 3]];

/** The last ten steps of each criterion in figures. */
function Standings({ criteria }: { criteria: CriterionHistory[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="The criteria in figures">
      <table>
        <caption>Means of the last 10 steps in which each one judged</caption>
        <thead>
          <tr>
            <th scope="col">criterion</th>
            <th scope="col">weight</th>
            <th scope="col">levels</th>
            <th scope="col">points</th>
            <th scope="col">variance</th>
            <th scope="col">pass rate</th>
            <th scope="col">correlation</th>
            <th scope="col">unscored</th>
          </tr>
        </thead>
        <tbody>
          {criteria.map((criterion) => (
            <tr key={criterion.id}>
              <th scope="row">
                <bdi>{visible(criterion.name || criterion.id)}</bdi>{" "}
                {criterion.pinned && <span class="tag">pinned</span>}
              </th>
              <td>{number(criterion.weight)}</td>
              <td>
                {number(criterion.min_points)} to {number(criterion.max_points)}
              </td>
              <td>{number(latest(criterion.mean))}</td>
              <td>{number(latest(criterion.variance))}</td>
              <td>{share(latest(criterion.passed))}</td>
              <td>{number(latest(criterion.correlation))}</td>
              <td>{share(latest(criterion.unscored))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const latest = (values: (number | null)[]) => lately(values.filter((value) => value !== null));
