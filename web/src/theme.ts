/** Light or dark: as the system has it, unless the reader chose; and the colours that drawings need. */

import { useEffect, useState } from "preact/hooks";

export const THEMES = ["auto", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "metapo-theme";
const CHANGED = "metapo-theme";

export function storedTheme(): Theme {
  const stored = remembered(KEY);
  return THEMES.find((theme) => theme === stored) ?? "auto";
}

export function setTheme(theme: Theme): void {
  remember(KEY, theme);
  applyTheme();
  dispatchEvent(new Event(CHANGED));
}

export function applyTheme(): void {
  const theme = storedTheme();
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

/** Counts up when colours change, so that canvases can be drawn anew. */
export function useColours(): number {
  const [n, setN] = useState(0);
  useEffect(() => {
    const changed = () => setN((old) => old + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    addEventListener(CHANGED, changed);
    system.addEventListener("change", changed);
    return () => {
      removeEventListener(CHANGED, changed);
      system.removeEventListener("change", changed);
    };
  }, []);
  return n;
}

const probe = document.createElement("i");

/** A token of the style sheet, as the colour that it is now. */
export function colour(token: string): string {
  probe.hidden = true;
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(--${token})`;
  return getComputedStyle(probe).color;
}

/** What this browser remembers of the reader's choices; nothing where it may not. */
export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // a browser that keeps nothing still shows everything
  }
}
