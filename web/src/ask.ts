/** Answers in views: the last one stays while a newer one is fetched, so that nothing flickers. */

import { useEffect, useRef, useState } from "preact/hooks";
import { useTicks } from "./live";
import { ask, Refusal } from "./source";

export interface Asked<T> {
  answer: T | null;
  refusal: Refusal | null;
  loading: boolean;
}

const NOTHING: Asked<never> = { answer: null, refusal: null, loading: false };

/** The answer at a path, asked anew when something happens. `null`: nothing to ask yet. */
export function useAnswer<T>(path: string | null): Asked<T> {
  const [asked] = useAnswers<T>(path === null ? [] : [path]);
  return asked ?? NOTHING;
}

/** The same for several paths at once; same order. A path is never asked twice at a time: a slow answer isn't starved. */
export function useAnswers<T>(paths: string[]): Asked<T>[] {
  const ticks = useTicks();
  const known = useRef(new Map<string, Asked<T>>());
  const asking = useRef(new Map<string, { again: boolean }>());
  const stop = useRef(new AbortController());
  const [, redraw] = useState(0);

  const fetchOne = async (path: string): Promise<void> => {
    const underWay = asking.current.get(path);
    if (underWay) {
      underWay.again = true;
      return;
    }
    const mine = { again: false };
    asking.current.set(path, mine);
    const asked = await answerTo<T>(path, stop.current.signal, known.current.get(path)?.answer ?? null);
    asking.current.delete(path);
    if (stop.current.signal.aborted) return;
    known.current.set(path, asked);
    redraw((n) => n + 1);
    if (mine.again) void fetchOne(path);
  };

  const all = paths.join("\n");
  useEffect(() => {
    for (const path of new Set(paths)) void fetchOne(path);
  }, [all, ticks]);
  useEffect(() => {
    stop.current = new AbortController();
    return () => stop.current.abort();
  }, []);
  return paths.map((path) => known.current.get(path) ?? { answer: null, refusal: null, loading: true });
}

async function answerTo<T>(path: string, signal: AbortSignal, before: T | null): Promise<Asked<T>> {
  try {
    return { answer: await ask<T>(path, signal), refusal: null, loading: false };
  } catch (e) {
    const refusal = e instanceof Refusal ? e : new Refusal(0, "unknown", String(e));
    return { answer: before, refusal, loading: false };
  }
}
