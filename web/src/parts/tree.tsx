/** A lineage as a tree, newest first: on the trunk what came into force, beside it what didn't. */

import type { Node } from "../answers";
import { plural, short, visible } from "../text";
import { reign, StatusTag } from "./bits";

const ROW = 58;
const LANE = 18;
const LEFT = 14;

interface Props {
  nodes: Node[];
  shown: string;
  hrefOf: (node: Node) => string;
}

export function Tree({ nodes, shown, hrefOf }: Props) {
  const rows = [...nodes].reverse();
  const lanes = lanesOf(nodes);
  const rowOf = new Map(rows.map((node, i) => [node.id, i]));
  const at = (node: Node) => ({
    x: LEFT + LANE * (lanes.get(node.id) ?? 0),
    y: ROW * ((rowOf.get(node.id) ?? 0) + 0.5),
  });
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const width = LEFT + LANE * Math.max(0, ...lanes.values()) + 14;
  return (
    <div class="tree">
      <svg width={width} height={ROW * rows.length} aria-hidden="true">
        {[...rows]
          .sort((a, b) => (lanes.get(b.id) ?? 0) - (lanes.get(a.id) ?? 0))
          .flatMap((node) =>
            node.parents.flatMap((id) => {
              const parent = byId.get(id);
              return parent
                ? [<path key={`${node.id} ${id}`} class={node.status} d={edge(at(node), at(parent))} />]
                : [];
            }),
          )}
        {rows.map((node) => (
          <circle
            key={node.id}
            class={`${node.status} ${node.id === shown ? "shown" : ""}`}
            cx={at(node).x}
            cy={at(node).y}
            r="5"
          />
        ))}
      </svg>
      <ol style={{ marginLeft: `${width}px` }}>
        {rows.map((node) => (
          <li key={node.id} style={{ height: `${ROW}px` }}>
            <a data-item href={hrefOf(node)} aria-current={node.id === shown ? "true" : undefined}>
              <span>
                <b class="mono">{short(node.id)}</b> <StatusTag status={node.status} />
              </span>
              <span class="muted small">
                {reign(node)} · {plural(node.n_criteria, "criterion", "criteria")}
              </span>
              <span class="hidden">
                {node.parents.length ? `, child of ${node.parents.map(short).join(" and ")}` : ", the first"}:{" "}
                {visible(node.reason)}
              </span>
            </a>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** 0 is the trunk; what never scored stands one lane beside its parent. */
function lanesOf(nodes: Node[]): Map<string, number> {
  const lanes = new Map<string, number>();
  for (const node of nodes) {
    const parent = lanes.get(node.parents[0] ?? "") ?? -1;
    lanes.set(node.id, node.in_force_from !== null || parent < 0 ? 0 : parent + 1);
  }
  return lanes;
}

/** From a child down to its parent: across at once, then along the parent's lane. */
function edge(child: { x: number; y: number }, parent: { x: number; y: number }): string {
  if (child.x === parent.x) return `M${child.x} ${child.y}V${parent.y}`;
  const turn = Math.min(parent.y, child.y + ROW * 0.62);
  return `M${child.x} ${child.y}C${child.x} ${turn} ${parent.x} ${child.y + 10} ${parent.x} ${turn}V${parent.y}`;
}
