/** Two rollouts of one prompt beside one another, and the act of saying which is better. */

import { useState } from "preact/hooks";
import type { PinnedAnswer, RolloutAnswer, RunsAnswer } from "../answers";
import { useAnswer } from "../ask";
import { stir } from "../live";
import { href } from "../route";
import { act } from "../source";
import { number, plural } from "../text";
import { Flags, Place, RevisionLink } from "./bits";
import { Evidence } from "./evidence";
import { ActForm } from "./form";
import { Shown } from "./state";
import { Verdicts } from "./verdicts";

interface Props {
  run: string;
  runs: RunsAnswer;
  left: string;
  right: string;
}

export function SideBySide({ run, runs, left, right }: Props) {
  const base = `/v1/runs/${encodeURIComponent(run)}`;
  const one = useAnswer<RolloutAnswer>(`${base}/rollouts/${encodeURIComponent(left)}`);
  const other = useAnswer<RolloutAnswer>(`${base}/rollouts/${encodeURIComponent(right)}`);
  const both = one.answer && other.answer ? { one: one.answer, other: other.answer } : null;
  const isSamePrompt = both?.one.entry.prompt_id === both?.other.entry.prompt_id;
  return (
    <>
      <div class="two">
        {(
          [
            ["Left", one],
            ["Right", other],
          ] as const
        ).map(([name, asked]) => (
          <section key={name} aria-label={name}>
            <Shown asked={asked} what="a rollout">
              {(answer) => <Half name={name} run={run} answer={answer} key={answer.entry.id} />}
            </Shown>
          </section>
        ))}
      </div>
      {both && isSamePrompt && left !== right && runs.can_act && (
        <Label base={base} who={runs.who} one={both.one} other={both.other} />
      )}
    </>
  );
}

function Half({ name, run, answer }: { name: string; run: string; answer: RolloutAnswer }) {
  const [active, setActive] = useState<number | null>(null);
  const { entry } = answer;
  return (
    <>
      <header class="head">
        <h3>{name}</h3>
        <b class="judge">{number(entry.reward)}</b>
        <a href={href("rollout", run, [entry.id])}>
          <Place entry={entry} />
        </a>
        <span class="muted">
          under <RevisionLink run={run} id={entry.revision} cluster={entry.cluster} />
        </span>
        <Flags flags={entry.flags} />
      </header>
      <Evidence text={answer.completion} verdicts={answer.verdicts} active={active} onActive={setActive} />
      <Verdicts verdicts={answer.verdicts} active={active} onActive={setActive} />
    </>
  );
}

interface LabelProps {
  base: string;
  who: string;
  one: RolloutAnswer;
  other: RolloutAnswer;
}

/** A pair whose order a person knows: no proposal may order it worse than its parent. */
function Label({ base, who, one, other }: LabelProps) {
  const [better, setBetter] = useState("");
  const send = async (name: string, why: string) => {
    const [good, bad] = better === "left" ? [one, other] : [other, one];
    const pair = { prompt: one.prompt, better: good.completion, worse: bad.completion, reference: one.reference };
    const answer = await act<PinnedAnswer>(`${base}/anchors`, { who: name, why, pairs: [pair] });
    stir();
    return answer.pinned ? `${plural(answer.pinned, "anchor")} pinned.` : "This pair was known already.";
  };
  return (
    <ActForm title="Label this pair as an anchor" verb="Label" who={who} disabled={!better} onSend={send}>
      <p class="muted">No proposal passes the gate that orders anchors worse than the rubric it would replace.</p>
      <fieldset class="radios">
        <legend>Which one is better?</legend>
        {["left", "right"].map((side) => (
          <label class="check" key={side}>
            <input type="radio" name="better" value={side} checked={better === side} onChange={() => setBetter(side)} />
            The {side} one
          </label>
        ))}
      </fieldset>
    </ActForm>
  );
}
