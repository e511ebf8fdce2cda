/** The address: everything that a view shows stands in it, so that every view can be linked, kept and gone back to. */

import { useEffect, useState } from "preact/hooks";

export const VIEWS = ["run", "rubric", "rollouts", "meta", "acts"] as const;
export type View = (typeof VIEWS)[number] | "rollout" | "prompt" | "pairs";

export interface Route {
  view: View;
  /** Empty until a run is chosen. */
  run: string;
  /** What follows the run in the path: an id, or a cluster and a step. */
  rest: string[];
  query: URLSearchParams;
}

const ALL: readonly string[] = [...VIEWS, "rollout", "prompt", "pairs"];

/** `#/rollouts/essay-1?step=4` in parts; what can't be read leads to the first view. */
export function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [view = "", run = "", ...rest] = path.split("/").map(decode);
  return { view: (ALL.includes(view) ? view : "run") as View, run, rest, query: new URLSearchParams(query) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

type Query = Record<string, string | number | null | undefined>;

/** The address of a view. Values that are empty are left out. */
export function href(
  view: View,
  run: string,
  rest: (string | number)[] = [],
  query: Query | URLSearchParams = {},
): string {
  const path = [view, ...(run ? [run] : []), ...rest].map((part) => encodeURIComponent(part)).join("/");
  const pairs = query instanceof URLSearchParams ? [...query] : Object.entries(query);
  const kept = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(kept.map(([key, value]) => [key, String(value)])).toString();
  return `#/${path}${text && `?${text}`}`;
}

/** The same view with other values in its query. `replace` leaves no entry in the history: for sliders and typing. */
export function amend(changes: Query, replace = false): void {
  const route = parse(location.hash);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") route.query.delete(key);
    else route.query.set(key, String(value));
  }
  go(href(route.view, route.run, route.rest, route.query), replace);
}

export function go(to: string, replace = false): void {
  if (to === location.hash) return;
  if (replace) {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = to;
}

export function useRoute(): Route {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return parse(hash);
}
