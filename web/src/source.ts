/** Where answers come from: the server that sent this page, or the page itself where it is a report. */

import { Answers } from "./report";
import { visible } from "./text";

/** What was refused, in the server's words; `status` 0 means that no server answered. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

const TOKEN = "metapo-token";

/** The token from the address (`#token=...`) moves into this tab's memory, so that no link carries it on. */
export function takeToken(): void {
  const found = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (found) {
    setToken(decodeURIComponent(found));
    history.replaceState(null, "", "#/");
  }
}

export function setToken(token: string): void {
  sessionStorage.setItem(TOKEN, token);
}

export function headers(): Record<string, string> {
  const token = embedded ? null : sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** The answers that a report carries; null on a page from a server. */
export let embedded: Answers | null = null;

/** Before anything is drawn. */
export async function readReport(): Promise<void> {
  const block = document.getElementById("answers");
  if (block) embedded = await Answers.unpack(block.textContent ?? "");
}

/** The answer at a path. Raises Refusal. */
export async function ask<T>(path: string, signal?: AbortSignal): Promise<T> {
  if (embedded) return fromReport<T>(embedded, path);
  return (await send(path, { signal })) as T;
}

/** Do something at a path. Raises Refusal. */
export async function act<T>(path: string, body: unknown): Promise<T> {
  if (embedded) throw new Refusal(0, "report", "A report is a record: nothing can be decided in it.");
  const content = { "Content-Type": "application/json" };
  return (await send(path, { method: "POST", body: JSON.stringify(body), headers: content })) as T;
}

async function send(path: string, init: RequestInit): Promise<unknown> {
  const answer = await fetch(path, { ...init, headers: { ...headers(), ...init.headers } }).catch((e: unknown) => {
    if (e instanceof DOMException && e.name === "AbortError") throw e;
    throw new Refusal(0, "unreachable", "The server doesn't answer. Is `metapo ui` still running?");
  });
  const body = await answer.json().catch(() => null);
  if (answer.ok && body !== null) return body;
  const told = body?.error;
  throw new Refusal(
    answer.status,
    told?.code ?? "unknown",
    visible(told?.message ?? `The server answered ${answer.status}.`),
  );
}

function fromReport<T>(answers: Answers, path: string): T {
  const answer = answers.find(path);
  if (answer === undefined) {
    throw new Refusal(
      404,
      "not_in_report",
      "This isn't in the report, which holds a part of the run; `metapo ui` shows it.",
    );
  }
  return answer as T;
}
