/** What people decide: waiting revisions, pinned criteria, anchors; and the record of every act. */

import { useState } from "preact/hooks";
import type {
  ActAnswer,
  ActRequest,
  ActShown,
  ActsAnswer,
  AnchorsAnswer,
  CriteriaAnswer,
  DiffAnswer,
  RevisionShown,
  RunsAnswer,
  WaitingShown,
} from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { stir } from "../live";
import { Prose, RevisionLink } from "../parts/bits";
import { Choose } from "../parts/choose";
import { Diff } from "../parts/diff";
import { ActForm } from "../parts/form";
import { GateTable } from "../parts/gate";
import { Shown } from "../parts/state";
import { href } from "../route";
import { act } from "../source";
import { plural, visible, words } from "../text";

export function ActsView({ route, runs, run }: ViewProps) {
  const base = `/v1/runs/${encodeURIComponent(route.run)}`;
  const asked = useAnswer<ActsAnswer>(`${base}/acts`);
  const [done, setDone] = useState(""); // said here: the form of what no longer waits is gone
  return (
    <>
      <h1 class="hidden">Hands on {visible(route.run)}</h1>
      {!runs.can_act && <p class="notice">Nothing can be decided here: this page only shows.</p>}
      <Shown asked={asked} what="what people decided">
        {(answer) => (
          <>
            <section aria-label="Waiting revisions">
              {done && (
                <p class="told done" role="status">
                  {visible(done)}
                </p>
              )}
              <h2>
                {answer.waiting.length
                  ? `${plural(answer.waiting.length, "revision")} waiting`
                  : "No revision waits for a decision"}
              </h2>
              {answer.waiting.length === 0 && (
                <p class="muted">
                  With <code>approve: manual</code> every revision that the gate accepts waits here until somebody
                  decides.
                </p>
              )}
              {answer.waiting.map((waiting) => (
                <Waiting
                  key={`${waiting.cluster} ${waiting.node.id}`}
                  base={base}
                  run={route.run}
                  runs={runs}
                  waiting={waiting}
                  onDone={setDone}
                />
              ))}
            </section>
            {runs.can_act && (
              <section aria-label="More to do">
                <h2>Change what happens next</h2>
                <div class="columns">
                  <Pinning base={base} who={runs.who} clusters={run.clusters} />
                  <Asking base={base} who={runs.who} clusters={run.clusters} />
                </div>
                <p class="muted">
                  To label a pair as an anchor, open a <a href={href("rollouts", route.run)}>rollout</a>, then the same
                  prompt across steps, or <a href={href("pairs", route.run)}>two revisions side by side</a>.
                </p>
              </section>
            )}
            <Record acts={answer.acts} run={route.run} />
          </>
        )}
      </Shown>
      <Anchors base={base} />
    </>
  );
}

const send = async (base: string, request: ActRequest): Promise<string> => {
  const answer = await act<ActAnswer>(`${base}/acts`, request);
  stir();
  return `On record as act ${answer.act}: ${answer.told} ${answer.when}`;
};

interface WaitingProps {
  base: string;
  run: string;
  runs: RunsAnswer;
  waiting: WaitingShown;
  onDone: (told: string) => void;
}

const CHOICES = ["approve", "reject", "edit"] as const;

function Waiting({ base, run, runs, waiting, onDone }: WaitingProps) {
  const { node, cluster } = waiting;
  const [choice, setChoice] = useState<(typeof CHOICES)[number]>(waiting.can_be_approved ? "approve" : "reject");
  const [text, setText] = useState<string | null>(null);
  const parent = node.parents[0];
  const diff = useAnswer<DiffAnswer>(parent ? `${base}/diff?from=${parent}&to=${node.id}` : null);
  const shown = useAnswer<RevisionShown>(choice === "edit" ? `${base}/revisions/${node.id}` : null);
  const edited = text ?? shown.answer?.yaml ?? "";
  const decide = async (who: string, why: string) => {
    const about = { cluster: cluster || null, about: node.id };
    onDone(await send(base, { kind: choice, who, why, ...about, text: choice === "edit" ? edited : undefined }));
    return "";
  };
  return (
    <article class="card waiting">
      <header class="head">
        <h3>
          <RevisionLink run={run} id={node.id} cluster={cluster} />
        </h3>
        {cluster && <span class="tag">{visible(cluster)}</span>}
        <span class="muted">
          proposed by {visible(node.proposer)} after step {node.step}
        </span>
        {node.meta_step !== null && <a href={href("meta", run, [node.meta_step], { cluster })}>its meta step</a>}
      </header>
      <p>
        <bdi>{visible(node.reason)}</bdi>
      </p>
      {node.findings.length > 0 && <GateTable findings={node.findings} />}
      {parent && (
        <Shown asked={diff} what="the difference">
          {(answer) => <Diff diff={answer} whole={false} />}
        </Shown>
      )}
      <p>
        <b>If approved: </b>
        <bdi>{visible(waiting.if_approved)}</bdi>
      </p>
      {runs.can_act && (
        <ActForm
          title="Decide"
          verb={words(choice)[0]?.toUpperCase() + words(choice).slice(1)}
          who={runs.who}
          onSend={decide}
        >
          <fieldset class="radios">
            <legend class="hidden">What to do with it</legend>
            {CHOICES.map((one) => (
              <label class="check" key={one}>
                <input
                  type="radio"
                  name={`choice-${node.id}`}
                  value={one}
                  checked={choice === one}
                  disabled={one === "approve" && !waiting.can_be_approved}
                  onChange={() => setChoice(one)}
                />
                {one === "edit" ? "edit it first" : one}
              </label>
            ))}
          </fieldset>
          {choice === "edit" && (
            <label class="field">
              <span>The rubric that comes into force in its place</span>
              <textarea
                rows={18}
                spellcheck={false}
                value={edited}
                onInput={(event) => setText(event.currentTarget.value)}
              />
            </label>
          )}
        </ActForm>
      )}
    </article>
  );
}

interface ActProps {
  base: string;
  who: string;
  clusters: string[];
}

/** A criterion that no meta step may change, or one that it may change again. */
function Pinning({ base, who, clusters }: ActProps) {
  const asked = useAnswer<CriteriaAnswer>(`${base}/criteria?max_steps=1`);
  const [chosen, setChosen] = useState("");
  const [cluster, setCluster] = useState("");
  const criterion = asked.answer?.criteria.find((one) => one.id === chosen);
  const kind = criterion?.pinned ? "unpin" : "pin";
  const options = (asked.answer?.criteria ?? []).map((one): [string, string] => [
    one.id,
    `${one.name || one.id}${one.pinned ? " (pinned)" : ""}`,
  ]);
  return (
    <ActForm
      title="Pin a criterion"
      verb={kind === "pin" ? "Pin it" : "Unpin it"}
      who={who}
      disabled={!chosen}
      onSend={(name, why) => send(base, { kind, who: name, why, criterion: chosen, cluster: cluster || null })}
    >
      <p class="muted">No meta step changes, splits or removes a pinned criterion.</p>
      <div class="bar-of-choices">
        <Choose label="Criterion" value={chosen} onChange={setChosen} options={[["", "choose one …"], ...options]} />
        <WhichCluster clusters={clusters} value={cluster} onChange={setCluster} />
      </div>
    </ActForm>
  );
}

function Asking({ base, who, clusters }: ActProps) {
  const [cluster, setCluster] = useState("");
  return (
    <ActForm
      title="Ask for a meta step"
      verb="Ask for it"
      who={who}
      onSend={(name, why) => send(base, { kind: "evolve", who: name, why, cluster: cluster || null })}
    >
      <p class="muted">It begins at the end of the training step that is under way.</p>
      <WhichCluster clusters={clusters} value={cluster} onChange={setCluster} />
    </ActForm>
  );
}

function WhichCluster({
  clusters,
  value,
  onChange,
}: {
  clusters: string[];
  value: string;
  onChange: (to: string) => void;
}) {
  if (clusters.length < 2) return null;
  const options = clusters.filter(Boolean).map((name): [string, string] => [name, name]);
  return <Choose label="Cluster" value={value} onChange={onChange} options={[["", "all"], ...options]} />;
}

function Record({ acts, run }: { acts: ActShown[]; run: string }) {
  return (
    <section aria-label="The record">
      <h2>The record</h2>
      {acts.length === 0 ? (
        <p class="muted">Nobody has decided anything in this run.</p>
      ) : (
        <div class="scroll" tabIndex={0} role="region" aria-label="Every act">
          <table>
            <thead>
              <tr>
                <th scope="col">no.</th>
                <th scope="col">when</th>
                <th scope="col">who</th>
                <th scope="col">what</th>
                <th scope="col">why</th>
                <th scope="col">what came of it</th>
              </tr>
            </thead>
            <tbody>
              {[...acts].reverse().map((one) => (
                <tr key={one.id}>
                  <th scope="row">{one.id}</th>
                  <td>{new Date(one.done_at).toLocaleString()}</td>
                  <td>
                    <bdi>{visible(one.who)}</bdi>
                  </td>
                  <td class="wide">
                    <bdi>{visible(one.told)}</bdi>{" "}
                    {one.about && <RevisionLink run={run} id={one.about} cluster={one.cluster ?? ""} />}
                  </td>
                  <td class="wide">
                    <bdi>{visible(one.why)}</bdi>
                  </td>
                  <td class="wide">
                    {one.outcomes.length === 0
                      ? "not yet taken by the run"
                      : one.outcomes.map((outcome, i) => (
                          <div key={i}>
                            after step {outcome.step}
                            {outcome.cluster && ` (${visible(outcome.cluster)})`}: <bdi>{visible(outcome.outcome)}</bdi>
                          </div>
                        ))}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function Anchors({ base }: { base: string }) {
  const [source, setSource] = useState("anchor");
  const asked = useAnswer<AnchorsAnswer>(`${base}/anchors?source=${source}&limit=50`);
  return (
    <section aria-label="Anchors">
      <header class="head">
        <h2>Pairs of known order</h2>
        <Choose
          bare
          label="Source"
          value={source}
          onChange={setSource}
          options={["anchor", "archive", "earlier"].map((one): [string, string] => [
            one,
            `${SOURCES[one]} (${asked.answer?.n_by_source[one] ?? 0})`,
          ])}
        />
      </header>
      <Shown asked={asked} what="the anchors">
        {(answer) =>
          answer.anchors.length === 0 ? (
            <p class="muted">There is none of this kind.</p>
          ) : (
            <>
              {answer.anchors.map((anchor) => (
                <details key={anchor.number} class="anchor">
                  <summary>
                    <b>{visible(anchor.who) || words(anchor.source)}</b>, after step {anchor.step}:{" "}
                    <bdi>{visible(anchor.why)}</bdi>
                  </summary>
                  <Prose text={anchor.prompt} />
                  <div class="two">
                    <section aria-label="Better">
                      <h3>better</h3>
                      <Prose text={anchor.better} />
                    </section>
                    <section aria-label="Worse">
                      <h3>worse</h3>
                      <Prose text={anchor.worse} />
                    </section>
                  </div>
                </details>
              ))}
              {answer.next !== null && <p class="muted small">The newest 50.</p>}
            </>
          )
        }
      </Shown>
    </section>
  );
}

const SOURCES: Record<string, string> = {
  anchor: "labelled by people or settings",
  archive: "spoke for an accepted proposal",
  earlier: "examined others before",
};
