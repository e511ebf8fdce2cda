/** The answers that a report carries. Lists are sought through here, as the server would. */

import type { PairOfSides, PairsAnswer, PromptAnswer, RolloutAnswer, RolloutEntry, RolloutsAnswer } from "./answers";

export interface Report {
  made_at: string;
  /** How many rollouts are held, by run. */
  held: Record<string, number>;
}

/** Of what a path asks, what has no bearing on which answer it is. */
const BESIDE = ["limit", "max_steps", "columns", "cursor", "after", "generation"];
const A_SIDE = 8;

export class Answers {
  constructor(private readonly held: Record<string, unknown>) {}

  static async unpack(base64: string): Promise<Answers> {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    const whole = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Answers(await new Response(whole).json());
  }

  get report(): Report {
    return this.held.report as Report;
  }

  /** The answer to a path, undefined where the report has none. */
  find(path: string): unknown {
    const url = new URL(path, "http://report");
    for (const name of BESIDE) url.searchParams.delete(name);
    const [, , , run = "", list, id] = url.pathname.split("/");
    const base = `/v1/runs/${run}`;
    if (list === "rollouts" && !id) return this.search(base, url.searchParams);
    if (list === "prompts") return this.prompt(base, id ?? "");
    if (list === "pairs") return this.pairs(base, url.searchParams);
    const query = [...url.searchParams].map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
    return this.held[url.pathname + (query && `?${query}`)] ?? this.ofFirstCluster(url.pathname, query);
  }

  /** What is asked without a cluster is meant for the first one. */
  private ofFirstCluster(path: string, query: string): unknown {
    const key = query ? undefined : Object.keys(this.held).find((one) => one.startsWith(`${path}?cluster=`));
    return key && this.held[key];
  }

  private rollouts(base: string): RolloutAnswer[] {
    const start = `${base}/rollouts/`;
    const found = Object.entries(this.held).filter(([path]) => path.startsWith(start));
    return found.map(([, answer]) => answer as RolloutAnswer);
  }

  private search(base: string, asked: URLSearchParams): RolloutsAnswer {
    const all = this.rollouts(base);
    const rows = all.filter((one) => isAsked(one, asked)).map((one) => one.entry);
    const order = asked.get("order") ?? "newest";
    const byReward = order === "best" || order === "worst";
    const kept = byReward ? rows.filter((row) => row.reward !== null) : rows;
    const sign = order === "newest" || order === "best" ? -1 : 1;
    const key = (row: RolloutEntry) => (byReward ? (row.reward ?? 0) : row.step);
    kept.sort((a, b) => sign * (key(a) - key(b) || a.position - b.position));
    return { rollouts: kept, next: null, n_looked_at: all.length };
  }

  private prompt(base: string, id: string): PromptAnswer | undefined {
    const found = this.rollouts(base).filter((one) => one.entry.prompt_id === id);
    const [first] = found;
    const rows = found.map((one) => one.entry).sort((a, b) => a.step - b.step || a.position - b.position);
    return first && { prompt_id: id, prompt: first.prompt, reference: first.reference, rollouts: rows, next: null };
  }

  private pairs(base: string, asked: URLSearchParams): PairsAnswer {
    const [left, right] = [asked.get("left") ?? "", asked.get("right") ?? ""];
    const rows = this.rollouts(base)
      .map((one) => one.entry)
      .sort((a, b) => b.step - a.step);
    const under = (revision: string, prompt: string) =>
      rows.filter((row) => row.revision === revision && row.prompt_id === prompt).slice(0, A_SIDE);
    const pairs = [...new Map(rows.map((row) => [row.prompt_id, row.prompt_snippet]))].map(
      ([prompt_id, prompt_snippet]): PairOfSides => ({
        prompt_id,
        prompt_snippet,
        left: under(left, prompt_id),
        right: under(right, prompt_id),
      }),
    );
    return { left, right, pairs: pairs.filter((p) => p.left.length && p.right.length), bridge: null, next: null };
  }
}

/** The filters of the list of rollouts, as the server reads them. */
function isAsked({ entry, verdicts, prompt, completion }: RolloutAnswer, asked: URLSearchParams): boolean {
  const text = (name: string) => asked.get(name);
  const bound = (name: string) => (asked.get(name) === null ? null : Number(asked.get(name)));
  const verdict = verdicts.find((one) => one.criterion === text("criterion"));
  const [from, to, min, max, points] = ["from_step", "to_step", "min_reward", "max_reward", "points"].map(bound);
  const yes = (name: string) => (asked.get(name) === null ? null : asked.get(name) === "true");
  const is = (wanted: boolean | null, so: boolean) => wanted === null || wanted === so;
  return (
    is(text("split") === null ? null : true, entry.split === text("split")) &&
    is(text("cluster") === null ? null : true, entry.cluster === text("cluster")) &&
    is(text("revision") === null ? null : true, entry.revision.startsWith(text("revision") ?? "")) &&
    is(text("prompt") === null ? null : true, entry.prompt_id === text("prompt")) &&
    is(text("flag") === null ? null : true, entry.flags.includes(text("flag") ?? "")) &&
    (from == null || entry.step >= from) &&
    (to == null || entry.step <= to) &&
    (min == null || (entry.reward !== null && entry.reward >= min)) &&
    (max == null || (entry.reward !== null && entry.reward <= max)) &&
    (text("criterion") === null || verdict !== undefined) &&
    (points == null || verdict?.points === points) &&
    is(yes("has_verdict"), verdict !== undefined && verdict.points !== null) &&
    is(yes("has_reward"), entry.reward !== null) &&
    is(yes("screened"), entry.screened !== "") &&
    `${prompt}\n${completion}`.toLowerCase().includes((text("text") ?? "").toLowerCase())
  );
}
