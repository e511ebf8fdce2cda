/** The frame of every view: which run, which view, how the line stands, keys, colours. */

import { useEffect, useState } from "preact/hooks";
import type { RunAnswer, RunEntry, RunsAnswer } from "./answers";
import { useAnswer } from "./ask";
import { Help, usePlainKeys } from "./keys";
import { type Line, stir, useLine } from "./live";
import { Busy, Empty, Problem } from "./parts/state";
import { go, href, type Route, useRoute, VIEWS, type View } from "./route";
import { embedded, setToken } from "./source";
import { number, plural, visible } from "./text";
import { setTheme, storedTheme, THEMES } from "./theme";
import { ActsView } from "./views/acts";
import { MetaView } from "./views/meta";
import { PairsView } from "./views/pairs";
import { PromptView } from "./views/prompt";
import { RolloutView } from "./views/rollout";
import { RolloutsView } from "./views/rollouts";
import { RubricView } from "./views/rubric";
import { RunView } from "./views/run";

const NAMES: Record<(typeof VIEWS)[number], string> = {
  run: "Run",
  rubric: "Rubric",
  rollouts: "Rollouts",
  meta: "Meta steps",
  acts: "Hands on",
};
/** Which of the five a view belongs to. */
const UNDER: Partial<Record<View, View>> = { rollout: "rollouts", prompt: "rollouts", pairs: "rollouts" };

/** What every view is given. */
export interface ViewProps {
  route: Route;
  runs: RunsAnswer;
  run: RunAnswer;
}

export function App() {
  const route = useRoute();
  const asked = useAnswer<RunsAnswer>("/v1/runs");
  const first = asked.answer?.runs.find((entry) => !entry.problem)?.run ?? "";
  const [helping, setHelping] = useState(false);
  useEffect(() => {
    if (!route.run && first) go(href(route.view, first), true);
  }, [route.run, route.view, first]);
  usePlainKeys(route, () => setHelping((old) => !old));

  if (asked.refusal?.status === 401) return <TokenForm message={asked.refusal.message} />;
  if (asked.answer === null) {
    return <main class="alone">{asked.refusal ? <Problem refusal={asked.refusal} /> : <Busy what="the runs" />}</main>;
  }
  if (asked.answer.runs.length === 0) {
    return (
      <main class="alone">
        <Empty>
          <h1>No run yet</h1>
          <p>
            Begin one with <code>metapo train</code>, then open its folder: <code>metapo ui runs/essay</code>.
          </p>
        </Empty>
      </main>
    );
  }
  return (
    <>
      <Framed route={route} runs={asked.answer} onHelp={() => setHelping(true)} />
      {helping && <Help onClose={() => setHelping(false)} />}
    </>
  );
}

function Framed({ route, runs, onHelp }: { route: Route; runs: RunsAnswer; onHelp: () => void }) {
  const entry = runs.runs.find((one) => one.run === route.run);
  const isReadable = entry !== undefined && !entry.problem;
  const asked = useAnswer<RunAnswer>(isReadable ? `/v1/runs/${encodeURIComponent(route.run)}` : null);
  const run = asked.answer?.entry.run === route.run ? asked.answer : null;
  const { line, since } = useLine(isReadable ? route.run : "");
  const under = UNDER[route.view] ?? route.view;
  const title = NAMES[under as keyof typeof NAMES];
  useEffect(() => {
    document.title = `${title} · ${visible(route.run)} · metapo`;
  }, [title, route.run]);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to the view
      </button>
      <header class="top">
        <a class="brand" href={href("run", route.run)}>
          metapo
        </a>
        <WhichRun runs={runs.runs} route={route} />
        {entry && isReadable && <Standing entry={run?.entry ?? entry} />}
        <span class="room" />
        <Connection line={line} />
        <ThemeButton />
        <button type="button" class="quiet" onClick={onHelp} aria-label="Keys and help" title="Keys and help (?)">
          ?
        </button>
      </header>
      <nav class="views" aria-label="Views">
        {VIEWS.map((view, i) => (
          <a
            key={view}
            href={href(view, route.run)}
            aria-current={under === view ? "page" : undefined}
            title={`Key ${i + 1}`}
          >
            {NAMES[view]}
            {view === "acts" && !!entry?.n_waiting && (
              <span class="count" title={`${plural(entry.n_waiting, "revision")} waiting`}>
                {entry.n_waiting}
              </span>
            )}
          </a>
        ))}
      </nav>
      {line === "lost" && (
        <p class="notice lost" role="alert">
          Not connected since {since.toLocaleTimeString()}: what you see may be old. Trying again …{" "}
          <button type="button" onClick={stir}>
            Now
          </button>
        </p>
      )}
      <main id="main" tabIndex={-1}>
        {!route.run ? null : !entry ? (
          <Empty>
            <h1>No run named {visible(route.run)}</h1>
            <p>
              Shown here: {runs.runs.map((one) => one.run).join(", ")}. Start <code>metapo ui</code> with its folder
              too.
            </p>
          </Empty>
        ) : entry.problem ? (
          <Empty>
            <h1>{visible(entry.run)} can't be read</h1>
            <p>{visible(entry.problem)}</p>
          </Empty>
        ) : run ? (
          <Viewed route={route} runs={runs} run={run} key={`${route.view} ${route.run}`} />
        ) : asked.refusal ? (
          <Problem refusal={asked.refusal} />
        ) : (
          <Busy what="the run" />
        )}
      </main>
    </>
  );
}

function Viewed(props: ViewProps) {
  switch (props.route.view) {
    case "run":
      return <RunView {...props} />;
    case "rubric":
      return <RubricView {...props} />;
    case "rollouts":
      return <RolloutsView {...props} />;
    case "rollout":
      return <RolloutView {...props} />;
    case "prompt":
      return <PromptView {...props} />;
    case "pairs":
      return <PairsView {...props} />;
    case "meta":
      return <MetaView {...props} />;
    case "acts":
      return <ActsView {...props} />;
  }
}

function WhichRun({ runs, route }: { runs: RunEntry[]; route: Route }) {
  if (runs.length === 1) return <strong class="which">{visible(runs[0]?.run ?? "")}</strong>;
  const view = UNDER[route.view] ?? route.view;
  return (
    <label class="which">
      <span class="hidden">Run</span>
      <select value={route.run} onChange={(event) => go(href(view, event.currentTarget.value))}>
        {runs.map((one) => (
          <option value={one.run} key={one.run}>
            {visible(one.run)}
          </option>
        ))}
      </select>
    </label>
  );
}

function Standing({ entry }: { entry: RunEntry }) {
  const done =
    entry.steps === null ? `step ${entry.step}` : `step ${number(entry.step, 9)} of ${number(entry.steps, 9)}`;
  return (
    <span class={`standing ${entry.standing}`}>
      <i aria-hidden="true" />
      {entry.standing}, {done}
    </span>
  );
}

const LINES: Record<Line, [string, string]> = {
  still: ["", ""],
  joining: ["connecting", "Not yet connected to the server"],
  live: ["live", "What happens in the run appears by itself"],
  lost: ["not connected", "The server doesn't answer; it is tried again"],
};

function Connection({ line }: { line: Line }) {
  if (embedded) return <span class="line-state">report</span>;
  const [words, more] = LINES[line];
  return words ? (
    <span class={`line-state ${line}`} title={more} role="status">
      {words}
    </span>
  ) : null;
}

const FACES = { auto: "◐", light: "○", dark: "●" };

function ThemeButton() {
  const [theme, set] = useState(storedTheme());
  const turn = () => {
    const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
    setTheme(next);
    set(next);
  };
  return (
    <button
      type="button"
      class="quiet"
      id="theme"
      onClick={turn}
      aria-label={`Colours: ${theme}`}
      title={`Colours: ${theme} (key t)`}
    >
      {FACES[theme]}
    </button>
  );
}

function TokenForm({ message }: { message: string }) {
  const [token, set] = useState("");
  return (
    <main class="alone">
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          setToken(token.trim());
          stir();
        }}
      >
        <h1>This server asks for its token</h1>
        <p class="muted">{message}</p>
        <label class="field">
          <span>Token</span>
          <input
            type="password"
            value={token}
            required
            autocomplete="off"
            onInput={(e) => set(e.currentTarget.value)}
          />
        </label>
        <button type="submit" class="main">
          Go on
        </button>
      </form>
    </main>
  );
}
