/** What stands where something is not (yet) to be seen: loading, empty, refused. */

import type { ComponentChildren } from "preact";
import type { Asked } from "../ask";
import { stir } from "../live";
import type { Refusal } from "../source";

export function Busy({ what }: { what: string }) {
  return (
    <p class="state busy" role="status">
      <span class="spinner" aria-hidden="true" /> Reading {what} …
    </p>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="state empty">{children}</div>;
}

export function Problem({ refusal }: { refusal: Refusal }) {
  return (
    <div class="state problem" role="alert">
      <p>{refusal.message}</p>
      {refusal.status !== 404 && (
        <button type="button" onClick={stir}>
          Try again
        </button>
      )}
    </div>
  );
}

interface Props<T> {
  asked: Asked<T>;
  what: string;
  children: (answer: T) => ComponentChildren;
}

/** An answer, or what stands in its place. An old answer stays in sight beside a refusal of the new one. */
export function Shown<T>({ asked, what, children }: Props<T>) {
  const isLost = asked.refusal?.status === 0 && asked.answer !== null;
  return (
    <>
      {asked.refusal && !isLost && <Problem refusal={asked.refusal} />}
      {asked.answer !== null ? children(asked.answer) : asked.loading && <Busy what={what} />}
    </>
  );
}
