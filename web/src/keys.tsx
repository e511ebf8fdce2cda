/** Keys: one press each, never while something is typed, and to be switched off. */

import { useEffect, useRef, useState } from "preact/hooks";
import { go, href, type Route, VIEWS } from "./route";
import { remember, remembered } from "./theme";

const SWITCH = "metapo-keys";
const KEYS: [string, string][] = [
  ["1 – 5", "Run, Rubric, Rollouts, Meta steps, Hands on"],
  ["/", "to the first field of the view"],
  ["j  k", "next and previous in a list, or rollout"],
  ["Enter", "open what is marked"],
  ["u", "back up, from a rollout to the list"],
  ["t", "light, dark, or as the system has it"],
  ["← →", "on a chart: one step on or back; Page keys: ten"],
  ["+  0", "on a chart: zoom in around the step, show all"],
  ["?", "this help"],
];

export function keysAreOn(): boolean {
  return remembered(SWITCH) !== "off";
}

/** A press that is meant for the page: no modifier, and not into a field. */
export function isPlain(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  const typing = target.closest?.("input, textarea, select, [contenteditable]");
  return keysAreOn() && !typing && !event.ctrlKey && !event.metaKey && !event.altKey && !event.defaultPrevented;
}

/** The keys that work in every view. */
export function usePlainKeys(route: Route, onHelp: () => void): void {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (!isPlain(event)) return;
      const view = VIEWS[Number(event.key) - 1];
      if (view) go(href(view, route.run));
      else if (event.key === "?") onHelp();
      else if (event.key === "t") document.getElementById("theme")?.click();
      else if (event.key === "/") document.querySelector<HTMLElement>("main input, main select")?.focus();
      else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [route.run, onHelp]);
}

/** The focus goes to the next or previous item of the view's list, if it has one. */
function move(by: number): void {
  const items = [...document.querySelectorAll<HTMLElement>("main [data-item]")];
  const here = items.indexOf(document.activeElement?.closest("[data-item]") as HTMLElement);
  const current = here >= 0 ? here : items.findIndex((item) => item.getAttribute("aria-current") === "true");
  const next = items[Math.max(0, Math.min(items.length - 1, current + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

export function Help({ onClose }: { onClose: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [on, setOn] = useState(keysAreOn());
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="help-title">
      <h2 id="help-title">Keys</h2>
      <dl class="keys">
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
      <label class="check">
        <input
          type="checkbox"
          checked={on}
          onChange={(event) => {
            remember(SWITCH, event.currentTarget.checked ? "on" : "off");
            setOn(event.currentTarget.checked);
          }}
        />
        Single keys do something
      </label>
      <p class="muted small">
        Drag over a chart to zoom in, double-click to show all. The address of the page holds what you see: keep it, or
        send it on.
      </p>
      <button type="button" class="main" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
