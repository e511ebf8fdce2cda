/** A meta step from beginning to end: samples, analyses, refinements, merge, gate; each readable in full. */

import { useState } from "preact/hooks";
import type {
  ExchangeAnswer,
  ExchangeEntry,
  MetaStepAnswer,
  MetaStepEntry,
  MetaStepsAnswer,
  ProposalShown,
} from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { Bar, Flags, Line, Prose, RevisionLink } from "../parts/bits";
import { GateTable } from "../parts/gate";
import { Empty, Shown } from "../parts/state";
import { href } from "../route";
import { dollars, number, plural, visible, words } from "../text";

export function MetaView({ route, run }: ViewProps) {
  const base = `/v1/runs/${encodeURIComponent(route.run)}/meta-steps`;
  const asked = useAnswer<MetaStepsAnswer>(base);
  const cluster = route.query.get("cluster") ?? "";
  return (
    <>
      <h1 class="hidden">Meta steps of {visible(route.run)}</h1>
      <Shown asked={asked} what="the meta steps">
        {({ meta_steps }) => {
          const newest = meta_steps[meta_steps.length - 1];
          const shown =
            meta_steps.find((one) => String(one.step) === route.rest[0] && one.cluster === cluster) ?? newest;
          return shown ? (
            <div class="split">
              <section class="side" aria-label="All meta steps">
                <h2>{plural(meta_steps.length, "meta step")}</h2>
                <ol class="rows">
                  {[...meta_steps].reverse().map((one) => (
                    <li key={`${one.cluster} ${one.step}`}>
                      <a
                        class="row-button"
                        data-item
                        href={href("meta", route.run, [one.step], { cluster: one.cluster })}
                        aria-current={one === shown ? "true" : undefined}
                      >
                        <span>
                          <b>after step {one.step}</b> <Decision entry={one} />
                          {run.clusters.length > 1 && <span class="tag">{visible(one.cluster) || "(no name)"}</span>}
                        </span>
                        <span class="muted small">
                          <Line text={one.why} />
                        </span>
                      </a>
                    </li>
                  ))}
                </ol>
              </section>
              <section class="detail" aria-label="One meta step">
                <Detail base={base} run={route.run} entry={shown} />
              </section>
            </div>
          ) : (
            <Empty>
              <h2>No meta step yet</h2>
              <p>When one begins, what it reads, asks, proposes and measures is shown here.</p>
            </Empty>
          );
        }}
      </Shown>
    </>
  );
}

function Decision({ entry }: { entry: MetaStepEntry }) {
  const decision = entry.decision ?? "under way";
  return <span class={`tag decision ${decision.replace(/\W+/g, "-")}`}>{visible(words(decision))}</span>;
}

interface DetailProps {
  base: string;
  run: string;
  entry: MetaStepEntry;
}

function Detail({ base, run, entry }: DetailProps) {
  const query = `?cluster=${encodeURIComponent(entry.cluster)}`;
  const asked = useAnswer<MetaStepAnswer>(`${base}/${entry.step}${query}`);
  return (
    <Shown asked={asked} what="the meta step" key={`${entry.step} ${entry.cluster}`}>
      {(answer) => (
        <Stages
          run={run}
          answer={answer}
          pathOf={(position) => `${base}/${entry.step}/exchanges/${position}${query}`}
        />
      )}
    </Shown>
  );
}

interface StagesProps {
  run: string;
  answer: MetaStepAnswer;
  pathOf: (position: number) => string;
}

function Stages({ run, answer, pathOf }: StagesProps) {
  const { entry } = answer;
  const names = [...new Set(answer.exchanges.map((exchange) => exchange.stage))];
  const spent = [
    entry.tokens ? plural(entry.tokens, "token") : "",
    entry.cost_usd === null ? "" : dollars(entry.cost_usd),
    entry.seconds === null ? "" : `${number(entry.seconds)} s`,
  ].filter(Boolean);
  return (
    <>
      <header class="head">
        <h2>Meta step after step {entry.step}</h2>
        <Decision entry={entry} />
        <span class="muted">
          it holds from step {entry.adopt_step} on · {spent.join(", ")}
        </span>
      </header>
      <p>
        <b>It began because: </b>
        <bdi>{visible(entry.why)}</bdi>
        {entry.reason && (
          <>
            <br />
            <b>It ended with: </b>
            <bdi>{visible(entry.reason)}</bdi>
          </>
        )}
        <br />
        {entry.parent && (
          <>
            From <RevisionLink run={run} id={entry.parent} cluster={entry.cluster} />
          </>
        )}
        {entry.child && (
          <>
            {" "}
            to <RevisionLink run={run} id={entry.child} cluster={entry.cluster} />
          </>
        )}
      </p>
      <ol class="pipeline" aria-label="Stages">
        <Stop anchor="samples" name="samples" n={answer.samples.length} />
        {names.map((name) => (
          <Stop
            key={name}
            anchor={name}
            name={words(name)}
            n={answer.exchanges.filter((one) => one.stage === name).length}
          />
        ))}
        <Stop anchor="gate" name="gate" n={answer.proposals.length} />
      </ol>
      <Samples run={run} answer={answer} />
      {names.map((name) => (
        <Stage
          key={name}
          name={name}
          exchanges={answer.exchanges.filter((exchange) => exchange.stage === name)}
          pathOf={pathOf}
        />
      ))}
      <Gate run={run} answer={answer} />
    </>
  );
}

const FIRST = 6;

interface StageProps {
  name: string;
  exchanges: ExchangeEntry[];
  pathOf: (position: number) => string;
}

function Stage({ name, exchanges, pathOf }: StageProps) {
  const [all, setAll] = useState(false);
  const shown = all ? exchanges : exchanges.slice(0, FIRST);
  return (
    <section class="stage" id={`stage-${name}`} aria-label={words(name)}>
      <h3>
        {words(name)}
        {STAGES[name] && `: ${STAGES[name]}`}
      </h3>
      {shown.map((exchange) => (
        <Exchange key={exchange.position} entry={exchange} path={pathOf(exchange.position)} />
      ))}
      {shown.length < exchanges.length && (
        <button type="button" onClick={() => setAll(true)}>
          Show the other {exchanges.length - shown.length}
        </button>
      )}
    </section>
  );
}

const STAGES: Record<string, string> = {
  explain: "why the judge gave what it gave",
  analyze: "what each sample shows about the rubric",
  refine: "what each analysis would change",
  merge: "one rubric out of all refinements",
  repair: "what the gate found, answered",
  compare: "which of two samples is better",
  attack: "what would fool the rubric",
};

function Stop({ anchor, name, n }: { anchor: string; name: string; n: number }) {
  const show = () => {
    const target = document.getElementById(`stage-${anchor}`);
    target?.scrollIntoView({ block: "start" });
    target?.querySelector<HTMLElement>("a, button, summary")?.focus({ preventScroll: true });
  };
  return (
    <li>
      <button type="button" onClick={show}>
        <b>{n}</b> {visible(name)}
      </button>
    </li>
  );
}

function Samples({ run, answer }: { run: string; answer: MetaStepAnswer }) {
  return (
    <section class="stage" id="stage-samples" aria-label="samples">
      <h3>samples: what the meta model read</h3>
      {answer.samples.length === 0 && <p class="muted">None is on record.</p>}
      <ol class="rows">
        {answer.samples.map((sample, i) => (
          <li key={sample.rollout.id}>
            <a class="rollout-row sample" data-item href={href("rollout", run, [sample.rollout.id])}>
              <span class="muted">
                {i + 1}. <span class="place">step {sample.rollout.step}</span>
              </span>
              <Bar value={sample.rollout.reward} name="reward" />
              <span class="judged muted">{number(sample.rollout.normalized)}</span>
              <span class="what">
                <Line text={sample.rollout.snippet || "(empty)"} />
                <span class="tags">
                  <Flags flags={sample.flags} />
                </span>
              </span>
              <span class="sample-why muted small">
                chosen because: <bdi>{visible(sample.why)}</bdi>
              </span>
            </a>
          </li>
        ))}
      </ol>
    </section>
  );
}

function Exchange({ entry, path }: { entry: ExchangeEntry; path: string }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="exchange" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <b>{entry.sample === null ? `no. ${entry.position + 1}` : `sample ${entry.sample + 1}`}</b>{" "}
        {entry.error ? (
          <span class="tag warn">{visible(entry.error)}</span>
        ) : (
          <Line text={entry.snippet || "(empty)"} />
        )}
      </summary>
      {open && <Exchanged path={path} entry={entry} />}
    </details>
  );
}

function Exchanged({ path, entry }: { path: string; entry: ExchangeEntry }) {
  const asked = useAnswer<ExchangeAnswer>(path);
  return (
    <>
      <p class="muted small">
        <bdi>{visible(entry.model)}</bdi> · {number(entry.prompt_tokens, 9)} + {number(entry.completion_tokens, 9)}{" "}
        tokens · {dollars(entry.cost_usd)} · {number(entry.latency_s)} s
      </p>
      <Shown asked={asked} what="the exchange">
        {(answer) => (
          <div class="asked">
            <section aria-label="What was asked">
              <h4>What was asked</h4>
              <Prose text={answer.prompt} mono />
            </section>
            <section aria-label="What came back">
              <h4>What came back</h4>
              <Prose text={answer.reply} mono />
            </section>
          </div>
        )}
      </Shown>
    </>
  );
}

function Gate({ run, answer }: { run: string; answer: MetaStepAnswer }) {
  const evidence = Object.entries(answer.evidence).map(([source, n]) => `${number(n, 9)} ${words(source)}`);
  return (
    <section class="stage" id="stage-gate" aria-label="gate">
      <h3>gate: what was proposed, and what it measured</h3>
      {evidence.length > 0 && <p class="muted">Examined by pairs of known order: {evidence.join(", ")}.</p>}
      {answer.proposals.length === 0 && <p class="muted">Nothing was proposed.</p>}
      {answer.proposals.map((proposal) => (
        <Proposal
          key={proposal.number}
          run={run}
          proposal={proposal}
          cluster={answer.entry.cluster}
          parent={answer.entry.parent}
        />
      ))}
    </section>
  );
}

function Proposal(props: { run: string; proposal: ProposalShown; cluster: string; parent: string | null }) {
  const { run, proposal, cluster, parent } = props;
  return (
    <article class="card">
      <header class="head">
        <h4>
          Proposal {proposal.number + 1} <RevisionLink run={run} id={proposal.revision} cluster={cluster} />
        </h4>
        <span class={`outcome ${proposal.accepted ? "passed" : "failed"}`}>
          {proposal.accepted ? "accepted" : "refused"}
        </span>
        {proposal.repairs !== null && <span class="tag">stands in for proposal {proposal.repairs + 1}</span>}
        <a href={href("rubric", run, [], { cluster, from: parent, to: proposal.revision })}>what it changes</a>
      </header>
      {proposal.findings.length > 0 ? (
        <GateTable findings={proposal.findings} />
      ) : (
        <p>
          <bdi>{visible(proposal.reason)}</bdi>
        </p>
      )}
    </article>
  );
}
