/** A button that opens a few others. Escape, a choice, or a click elsewhere closes it. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props {
  label: string;
  /** What stands on the button; three dots if nothing. */
  face?: ComponentChildren;
  /** The menu stays open while its choices are made. */
  stays?: boolean;
  children: ComponentChildren;
}

export function Menu({ label, face, stays = false, children }: Props) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!open) return;
    const elsewhere = (event: Event) => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", elsewhere);
    return () => document.removeEventListener("pointerdown", elsewhere);
  }, [open]);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  return (
    <div
      class="menu"
      ref={root}
      onKeyDown={(event) => {
        if (event.key !== "Escape" || !open) return;
        event.stopPropagation();
        close();
      }}
    >
      <button
        type="button"
        class={face ? "quiet" : "quiet dots"}
        ref={button}
        aria-label={face ? undefined : label}
        title={face ? label : undefined}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {face ?? "⋯"}
      </button>
      {open && (
        <div class="sheet" onClick={(event) => !stays && (event.target as Element).closest("button") && close()}>
          {children}
        </div>
      )}
    </div>
  );
}
