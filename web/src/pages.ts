/** A list that comes page by page: more is fetched as the reader nears the end of what is there. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ask, Refusal } from "./source";

export interface Paged<Row> {
  rows: Row[];
  /** Nothing more is to come. */
  isWhole: boolean;
  loading: boolean;
  refusal: Refusal | null;
  more: () => void;
  again: () => void;
}

interface Page {
  next: string | null;
}

/** `path` without a cursor; `rowsOf` takes the rows out of an answer. A short or empty page is followed by the next. */
export function usePages<Answer extends Page, Row>(path: string, rowsOf: (answer: Answer) => Row[]): Paged<Row> {
  const [state, setState] = useState<{ path: string; rows: Row[]; next: string | null; refusal: Refusal | null }>(
    fresh(path),
  );
  const [loading, setLoading] = useState(true);
  const run = useRef(0);

  const load = useCallback(
    async (before: Row[], cursor: string | null) => {
      const mine = ++run.current;
      setLoading(true);
      let [rows, next] = [before, cursor];
      try {
        do {
          const answer: Answer = await ask<Answer>(next === null ? path : withCursor(path, next));
          if (run.current !== mine) return;
          rows = [...rows, ...rowsOf(answer)];
          next = answer.next;
          setState({ path, rows, next, refusal: null });
        } while (next !== null && rows.length - before.length < ENOUGH);
      } catch (e) {
        if (run.current !== mine) return;
        setState({ path, rows, next, refusal: e instanceof Refusal ? e : new Refusal(0, "unknown", String(e)) });
      }
      setLoading(false);
    },
    [path],
  );
  useEffect(() => {
    setState((old) => ({ ...old, path }));
    void load([], null);
  }, [path]);

  return {
    rows: state.rows,
    isWhole: state.next === null && !loading,
    loading,
    refusal: state.refusal,
    more: () => {
      if (!loading && state.next !== null && !state.refusal) void load(state.rows, state.next);
    },
    again: () => void load([], null),
  };
}

const ENOUGH = 40;

const fresh = <Row>(path: string) => ({ path, rows: [] as Row[], next: null, refusal: null });

const withCursor = (path: string, cursor: string): string =>
  `${path}${path.includes("?") ? "&" : "?"}cursor=${encodeURIComponent(cursor)}`;
