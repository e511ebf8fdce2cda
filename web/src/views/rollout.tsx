/** One rollout in full: what was written, what the judge said of it and where it saw that. */

import { useEffect, useState } from "preact/hooks";
import type { CallShown, OpinionShown, RolloutAnswer } from "../answers";
import type { ViewProps } from "../app";
import { useAnswer } from "../ask";
import { isPlain } from "../keys";
import { Bar, Flags, Line, Place, Prose, RevisionLink } from "../parts/bits";
import { Evidence } from "../parts/evidence";
import { Shown } from "../parts/state";
import { Verdicts } from "../parts/verdicts";
import { go, href } from "../route";
import { dollars, number, plural, visible, words } from "../text";
import { lastList } from "./rollouts";

export function RolloutView({ route }: ViewProps) {
  const id = route.rest[0] ?? "";
  const asked = useAnswer<RolloutAnswer>(
    `/v1/runs/${encodeURIComponent(route.run)}/rollouts/${encodeURIComponent(id)}`,
  );
  const { back, before, after } = neighbours(route.run, id);
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!isPlain(event)) return;
      if (event.key === "u") go(back);
      else if (event.key === "j" && after) go(after);
      else if (event.key === "k" && before) go(before);
      else return;
      event.preventDefault();
      event.stopImmediatePropagation();
    };
    addEventListener("keydown", pressed, true);
    return () => removeEventListener("keydown", pressed, true);
  }, [back, before, after]);
  return (
    <>
      <nav class="bar-of-choices" aria-label="Between rollouts">
        <a class="button" href={back} title="Key u">
          ← All rollouts
        </a>
        {before && (
          <a class="button" href={before} title="Key k">
            Previous
          </a>
        )}
        {after && (
          <a class="button" href={after} title="Key j">
            Next
          </a>
        )}
      </nav>
      <Shown asked={asked} what="the rollout">
        {(answer) => <Rollout run={route.run} answer={answer} key={answer.entry.id} />}
      </Shown>
    </>
  );
}

function neighbours(run: string, id: string): { back: string; before: string | null; after: string | null } {
  const ids = lastList.run === run ? lastList.ids : [];
  const here = ids.indexOf(id);
  const at = (place: number) => (here >= 0 && ids[place] ? href("rollout", run, [ids[place]]) : null);
  return { back: here >= 0 ? lastList.address : href("rollouts", run), before: at(here - 1), after: at(here + 1) };
}

function Rollout({ run, answer }: { run: string; answer: RolloutAnswer }) {
  const [active, setActive] = useState<number | null>(null);
  const { entry } = answer;
  return (
    <>
      <header class="head">
        <h1>
          Rollout at <Place entry={entry} />
        </h1>
        <Flags flags={entry.flags} />
        {entry.screened && <span class="tag">screened: {visible(entry.screened)}</span>}
      </header>
      <dl class="tiles small-tiles">
        <div class="judge">
          <dt>Reward</dt>
          <dd>{number(entry.reward, 4)}</dd>
        </div>
        <div>
          <dt>Judge, 0 to 1</dt>
          <dd>{number(entry.normalized, 4)}</dd>
        </div>
        <div>
          <dt>Points</dt>
          <dd>{number(entry.raw, 4)}</dd>
        </div>
        {entry.monitor !== null && (
          <div>
            <dt>Monitor</dt>
            <dd>{number(entry.monitor, 4)}</dd>
          </div>
        )}
        <div>
          <dt>Revision</dt>
          <dd>
            <RevisionLink run={run} id={entry.revision} cluster={entry.cluster} />
          </dd>
        </div>
      </dl>
      <div class="reading">
        <section aria-label="What was written">
          <h2>
            Prompt <a href={href("prompt", run, [entry.prompt_id], { a: entry.id })}>the same one across steps</a>
          </h2>
          <Prose text={answer.prompt} />
          <h2>Completion</h2>
          <Evidence text={answer.completion} verdicts={answer.verdicts} active={active} onActive={setActive} />
          {answer.reference !== null && (
            <>
              <h2>Reference</h2>
              <Prose text={answer.reference} />
            </>
          )}
          {answer.flags.length > 0 && (
            <>
              <h2>Flagged by detectors</h2>
              <ul>
                {answer.flags.map((flag) => (
                  <li key={flag.detector}>
                    <b>{visible(words(flag.detector))}</b>: <bdi>{visible(flag.detail)}</bdi>
                  </li>
                ))}
              </ul>
            </>
          )}
          <p class="muted small">
            {answer.n_reused > 0 && `${plural(answer.n_reused, "verdict")} known from before. `}
            {answer.n_left_out > 0 &&
              `${plural(answer.n_left_out, "character")} of the completion were not shown to the judge. `}
            {answer.read_by.map((step) => (
              <a key={step} href={href("meta", run, [step], { cluster: entry.cluster })}>
                Read by the meta step after step {step}.{" "}
              </a>
            ))}
          </p>
        </section>
        <section aria-label="What the judge said">
          <h2>{plural(answer.verdicts.length, "verdict")}</h2>
          {answer.verdicts.length ? (
            <Verdicts verdicts={answer.verdicts} active={active} onActive={setActive} />
          ) : (
            <p class="muted">The judge was not asked.</p>
          )}
          <Opinions opinions={answer.opinions} />
        </section>
      </div>
      {answer.group.length > 0 && (
        <section>
          <h2>Its group: the same prompt in the same step</h2>
          <ul class="rows">
            {answer.group.map((other) => (
              <li key={other.id}>
                <a class="rollout-row" data-item href={href("rollout", run, [other.id])}>
                  <Place entry={other} />
                  <Bar value={other.reward} name="reward" />
                  <span class="judged muted">{number(other.normalized)}</span>
                  <span class="what">
                    <Line text={other.snippet || "(empty)"} />
                    <span class="tags">
                      <Flags flags={other.flags} />
                    </span>
                  </span>
                </a>
              </li>
            ))}
          </ul>
        </section>
      )}
      <Calls calls={answer.calls} />
    </>
  );
}

function Opinions({ opinions }: { opinions: OpinionShown[] }) {
  if (opinions.length === 0) return null;
  return (
    <details>
      <summary>{plural(opinions.length, "opinion")} of panel and monitor</summary>
      <div class="scroll" tabIndex={0} role="region" aria-label="Opinions">
        <table>
          <thead>
            <tr>
              <th scope="col">judge</th>
              <th scope="col">criterion</th>
              <th scope="col">points</th>
              <th scope="col">what it said</th>
            </tr>
          </thead>
          <tbody>
            {opinions.map((opinion, i) => (
              <tr key={i}>
                <th scope="row">
                  {visible(words(opinion.role))}: <bdi>{visible(opinion.judge)}</bdi>
                </th>
                <td>{visible(opinion.criterion)}</td>
                <td>
                  {opinion.points === null
                    ? visible(words(opinion.missing ?? "none"))
                    : number(opinion.value ?? opinion.points)}
                </td>
                <td class="wide">
                  <bdi>{visible(opinion.rationale || opinion.detail)}</bdi>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Calls({ calls }: { calls: CallShown[] }) {
  if (calls.length === 0) return null;
  return (
    <details>
      <summary>{plural(calls.length, "call")} to judges, word for word</summary>
      {calls.map((call) => (
        <section class="call" key={`${call.role} ${call.number}`}>
          <h3>
            {visible(words(call.role))} {call.number + 1}: <bdi>{visible(call.model)}</bdi>
          </h3>
          <p class="muted small">
            {number(call.latency_s)} s · {number(call.prompt_tokens, 9)} + {number(call.completion_tokens, 9)} tokens ·{" "}
            {dollars(call.cost_usd)} · {visible(call.finish_reason) || "no finish reason"} ·{" "}
            <bdi>{visible(call.endpoint)}</bdi>
          </p>
          {call.error && <p class="state problem">{visible(call.error)}</p>}
          <Prose text={call.reply} mono />
        </section>
      ))}
    </details>
  );
}
