/** What happens in a run while the page is open: a stream of events that says when to ask anew. */

import { useEffect, useState } from "preact/hooks";
import { embedded, headers } from "./source";

/** `still`: nothing to listen to; `joining`: not yet connected; `lost`: was cut, and is tried again. */
export type Line = "still" | "joining" | "live" | "lost";

const SLOWEST_MS = 10_000;
const GATHER_MS = 700;
const SILENT_MS = 45_000;

type Hear = () => void;
const hearers = new Set<Hear>();

/** Ask anew whatever is on the page: after an event, an act, or a line that stands again. */
export function stir(): void {
  for (const hear of [...hearers]) hear();
}

/** Counts up whenever something happened in the run that is shown. */
export function useTicks(): number {
  const [ticks, setTicks] = useState(0);
  useEffect(() => {
    const hear = () => setTicks((n) => n + 1);
    hearers.add(hear);
    return () => void hearers.delete(hear);
  }, []);
  return ticks;
}

/** Keeps the line to a run's events while the page can be seen, and tells how it stands, and since when. */
export function useLine(run: string): { line: Line; since: Date } {
  const [state, setState] = useState<{ line: Line; since: Date }>({ line: "still", since: new Date() });
  useEffect(() => {
    if (embedded || !run) return;
    const line = new Listening(run, (line) =>
      setState((old) => (old.line === line ? old : { line, since: new Date() })),
    );
    const seen = () => (document.hidden ? line.rest() : line.begin());
    seen();
    document.addEventListener("visibilitychange", seen);
    return () => {
      document.removeEventListener("visibilitychange", seen);
      line.rest();
    };
  }, [run]);
  return state;
}

class Listening {
  private stop: AbortController | null = null;
  private waitMs = 0;
  private gathering = 0;
  private last = "";
  private wasCut = false;

  constructor(
    private run: string,
    private tell: (line: Line) => void,
  ) {}

  begin(): void {
    if (this.stop) return;
    this.stop = new AbortController();
    void this.keep(this.stop.signal);
  }

  rest(): void {
    this.stop?.abort();
    this.stop = null;
    clearTimeout(this.gathering);
  }

  private async keep(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.listen(signal);
      } catch {
        // told below, in one place with a line that merely ended
      }
      if (signal.aborted) return;
      this.tell("lost");
      this.wasCut = true;
      this.waitMs = Math.min(SLOWEST_MS, this.waitMs ? this.waitMs * 2 : 1000);
      await new Promise((resolve) => setTimeout(resolve, this.waitMs));
    }
  }

  private async listen(signal: AbortSignal): Promise<void> {
    const silence = new AbortController();
    const since = this.last ? { "Last-Event-ID": this.last } : undefined;
    const answer = await fetch(`/v1/runs/${encodeURIComponent(this.run)}/events${this.last ? "" : "?after=now"}`, {
      headers: { ...headers(), ...since, Accept: "text/event-stream" },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (!answer.ok || !answer.body) throw new Error(String(answer.status));
    this.tell("live");
    this.waitMs = 0;
    if (this.wasCut) stir();
    this.wasCut = false;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const quiet = setTimeout(() => silence.abort(), SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(quiet));
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop() ?? "";
      for (const event of events) this.hear(event);
    }
  }

  private hear(event: string): void {
    const id = /^id: ?(.*)$/m.exec(event)?.[1];
    if (id !== undefined) this.last = id;
    if (!/^data:/m.test(event) || this.gathering) return;
    this.gathering = window.setTimeout(() => {
      this.gathering = 0;
      stir();
    }, GATHER_MS);
  }
}
