/** The rubric as it grew: every revision in a tree, what changed between any two, why, and how its criteria fared. */

import { useState } from "preact/hooks";
import type { DiffAnswer, Node, RevisionShown, TreeAnswer } from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { reign, StatusTag } from "../parts/bits";
import { Choose } from "../parts/choose";
import { Diff } from "../parts/diff";
import { GateTable } from "../parts/gate";
import { Empty, Shown } from "../parts/state";
import { Tree } from "../parts/tree";
import { amend, href } from "../route";
import { number, plural, short, visible, words } from "../text";
import { Criteria } from "./criteria";

export function RubricView({ route, run }: ViewProps) {
  const cluster = route.query.get("cluster") ?? run.clusters[0] ?? "";
  const base = `/v1/runs/${encodeURIComponent(route.run)}`;
  const tree = useAnswer<TreeAnswer>(`${base}/lineage?cluster=${encodeURIComponent(cluster)}`);
  return (
    <>
      <h1 class="hidden">Rubric of {visible(route.run)}</h1>
      {run.clusters.length > 1 && (
        <div class="bar-of-choices">
          <Choose
            label="Cluster of prompts"
            value={cluster}
            options={run.clusters.map((name) => [name, name || "(without a name)"])}
            onChange={(name) => amend({ cluster: name, from: null, to: null })}
          />
        </div>
      )}
      <Shown asked={tree} what="the lineage">
        {({ nodes }) =>
          nodes.length === 0 ? (
            <Empty>
              <h2>No revision yet</h2>
              <p>The first one is written when training begins.</p>
            </Empty>
          ) : (
            <Lineage run={route.run} base={base} cluster={cluster} nodes={nodes} query={route.query} />
          )
        }
      </Shown>
      <Criteria base={base} cluster={cluster} query={route.query} nodes={tree.answer?.nodes ?? []} />
    </>
  );
}

interface LineageProps {
  run: string;
  base: string;
  cluster: string;
  nodes: Node[];
  query: URLSearchParams;
}

function Lineage({ run, base, cluster, nodes, query }: LineageProps) {
  const find = (id: string | null) => (id ? nodes.find((node) => node.id.startsWith(id)) : undefined);
  const to = find(query.get("to")) ?? nodes.find((node) => node.status === "in_force") ?? nodes[nodes.length - 1];
  if (!to) return null;
  const from = find(query.get("from")) ?? find(to.parents[0] ?? null);
  const options = nodes.map((node): [string, string] => [
    node.id,
    `${short(node.id)} · step ${node.step} · ${words(node.status)}`,
  ]);
  return (
    <div class="split">
      <section class="side" aria-label="Lineage">
        <h2>{plural(nodes.length, "revision")}</h2>
        <Tree nodes={nodes} shown={to.id} hrefOf={(node) => href("rubric", run, [], { cluster, to: node.id })} />
      </section>
      <section class="detail" aria-label="One revision">
        <header class="head">
          <h2 class="mono">{short(to.id)}</h2>
          <StatusTag status={to.status} />
          <span class="muted">
            {visible(to.proposer)}, {reign(to)} · {plural(to.n_criteria, "criterion", "criteria")},{" "}
            {plural(to.n_words, "word")}, {number(to.min_points)} to {number(to.max_points)} points
          </span>
        </header>
        <Why node={to} run={run} cluster={cluster} />
        <div class="bar-of-choices">
          <Choose
            label="What changed from"
            value={from?.id ?? ""}
            options={[...(from ? [] : [["", "nothing: it is the first"] as [string, string]]), ...options]}
            onChange={(id) => amend({ from: id, to: to.id })}
          />
          <Choose
            label="to"
            value={to.id}
            options={options}
            onChange={(id) => amend({ from: from?.id ?? null, to: id })}
          />
          {from && (
            <a class="button" href={href("pairs", run, [], { left: from.id, right: to.id })}>
              Rollouts under both
            </a>
          )}
        </div>
        {from && from.id !== to.id ? (
          <Changes base={base} from={from.id} to={to.id} />
        ) : (
          <Whole base={base} id={to.id} note={from ? "Both are the same revision." : "The first revision, in full."} />
        )}
      </section>
    </div>
  );
}

function Why({ node, run, cluster }: { node: Node; run: string; cluster: string }) {
  return (
    <div class="why">
      <p>
        <b>Why: </b>
        <bdi>{visible(node.reason) || "no reason on record"}</bdi>
        {node.why && <span class="muted"> (the meta step began because: {visible(node.why)})</span>}{" "}
        {node.meta_step !== null && (
          <a href={href("meta", run, [node.meta_step], { cluster })}>See the meta step after step {node.meta_step}</a>
        )}
      </p>
      {node.findings.length === 0 && node.verdict && (
        <p class="muted">
          <bdi>{visible(node.verdict)}</bdi>
        </p>
      )}
      {node.findings.length > 0 && <GateTable findings={node.findings} />}
    </div>
  );
}

function Changes({ base, from, to }: { base: string; from: string; to: string }) {
  const [whole, setWhole] = useState(false);
  const diff = useAnswer<DiffAnswer>(`${base}/diff?from=${from}&to=${to}`);
  return (
    <Shown asked={diff} what="the difference">
      {(answer) => (
        <>
          <label class="check">
            <input type="checkbox" checked={whole} onChange={(event) => setWhole(event.currentTarget.checked)} />
            Show what stayed the same too
          </label>
          <Diff diff={answer} whole={whole} />
        </>
      )}
    </Shown>
  );
}

function Whole({ base, id, note }: { base: string; id: string; note: string }) {
  const revision = useAnswer<RevisionShown>(`${base}/revisions/${id}`);
  return (
    <Shown asked={revision} what="the rubric">
      {(shown) => (
        <>
          <p class="muted">{note}</p>
          {shown.revision.rubric.criteria.map((criterion) => (
            <section class="criterion" key={criterion.id}>
              <h3>
                {visible(criterion.name || criterion.id)} <span class="tag">weight {number(criterion.weight)}</span>
                {criterion.polarity !== "positive" && <span class="tag">{criterion.polarity}</span>}
                {criterion.pinned && <span class="tag">pinned</span>}
              </h3>
              <p dir="auto">{visible(criterion.instruction)}</p>
              <dl class="levels">
                {criterion.levels.map((level) => (
                  <div key={level.points}>
                    <dt>{number(level.points)}</dt>
                    <dd dir="auto">{visible(level.description)}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ))}
        </>
      )}
    </Shown>
  );
}
