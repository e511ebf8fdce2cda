/** The form of an act: who does it and why, and how it went. */

import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { Refusal } from "../source";
import { visible } from "../text";
import { remember, remembered } from "../theme";

const WHO = "metapo-who";

interface Props {
  title: string;
  /** What stands on the button. */
  verb: string;
  /** The name to propose where this browser remembers none. */
  who: string;
  disabled?: boolean;
  /** Does it, and says in words what came of it, "" where that is said elsewhere. Raises Refusal. */
  onSend: (who: string, why: string) => Promise<string>;
  children?: ComponentChildren;
}

type Told = { kind: "done" | "refused"; words: string } | null;

export function ActForm({ title, verb, who: proposed, disabled = false, onSend, children }: Props) {
  const [who, setWho] = useState(remembered(WHO) ?? proposed);
  const [why, setWhy] = useState("");
  const [told, setTold] = useState<Told>(null);
  const [sending, setSending] = useState(false);
  const id = useId();
  const submit = async (event: Event) => {
    event.preventDefault();
    if (sending) return;
    setSending(true);
    setTold(null);
    try {
      const words = await onSend(who.trim(), why.trim());
      remember(WHO, who.trim());
      setTold(words ? { kind: "done", words } : null);
      setWhy("");
    } catch (e) {
      setTold({ kind: "refused", words: e instanceof Refusal ? e.message : String(e) });
    }
    setSending(false);
  };
  return (
    <form class="act card" onSubmit={submit} aria-labelledby={id}>
      <h3 id={id}>{title}</h3>
      {children}
      <div class="who-why">
        <label class="field">
          <span>Who</span>
          <input
            value={who}
            required
            maxLength={200}
            autocomplete="name"
            onInput={(event) => setWho(event.currentTarget.value)}
          />
        </label>
        <label class="field grow">
          <span>Why</span>
          <input
            value={why}
            required
            maxLength={10_000}
            autocomplete="off"
            onInput={(event) => setWhy(event.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main" disabled={disabled || sending || !who.trim() || !why.trim()}>
          {sending ? "Sending …" : verb}
        </button>
      </div>
      {told && (
        <p class={`told ${told.kind}`} role={told.kind === "done" ? "status" : "alert"}>
          {visible(told.words)}
        </p>
      )}
    </form>
  );
}
