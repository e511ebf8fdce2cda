/** Small parts that several views share. Text that models or people wrote becomes text nodes, here and everywhere. */

import type { Node, RolloutEntry, Status } from "../answers";
import { href } from "../route";
import { number, short, visible, words } from "../text";

/** A text in full, as it was written, lines kept. */
export function Prose({ text, mono = false }: { text: string; mono?: boolean }) {
  return text ? (
    <div class={mono ? "prose mono" : "prose"} dir="auto">
      {visible(text)}
    </div>
  ) : (
    <div class="prose muted">(empty)</div>
  );
}

/** A text on one line. */
export function Line({ text }: { text: string }) {
  return (
    <bdi class="line" title={visible(text)}>
      {visible(text)}
    </bdi>
  );
}

/** A share between 0 and 1 as a bar with its number. */
export function Bar({ value, kind = "judge", name }: { value: number | null; kind?: string; name: string }) {
  if (value === null) return <span class="bar none">{name === "reward" ? "unscored" : "–"}</span>;
  return (
    <span class={`bar ${kind}`} title={`${name} ${number(value, 4)}`}>
      <span class="track" aria-hidden="true">
        <i style={{ width: `${Math.round(100 * Math.max(0, Math.min(1, value)))}%` }} />
      </span>
      <b>{value.toFixed(3)}</b>
    </span>
  );
}

export function Flags({ flags }: { flags: string[] }) {
  return (
    <>
      {flags.map((flag) => (
        <span class="tag hack" key={flag}>
          {visible(words(flag))}
        </span>
      ))}
    </>
  );
}

const STATUS: Record<Status, string> = {
  in_force: "in force",
  coming: "coming",
  earlier: "earlier",
  rolled_back: "rolled back",
  waiting: "waiting",
  rejected: "rejected",
  decided: "decided by a person",
  aside: "set aside",
};

export function StatusTag({ status }: { status: Status }) {
  return <span class={`tag status ${status}`}>{STATUS[status]}</span>;
}

export function RevisionLink({ run, id, cluster = "" }: { run: string; id: string; cluster?: string }) {
  return (
    <a class="mono" href={href("rubric", run, [], { cluster, to: id })}>
      {short(id)}
    </a>
  );
}

/** From which step to which a revision scored, in words. */
export function reign(node: Node): string {
  if (node.in_force_from === null) return `after step ${node.step}`;
  if (node.in_force_to === null) return `from step ${node.in_force_from} on`;
  return `steps ${node.in_force_from} to ${node.in_force_to - 1}`;
}

/** Where and when a rollout was written, in a line. */
export function Place({ entry }: { entry: RolloutEntry }) {
  return (
    <span class="place muted" title={entry.split === "eval" ? "an evaluation" : "training"}>
      {entry.split === "eval" ? "eval" : "step"} {entry.step} · no. {entry.position}
    </span>
  );
}
