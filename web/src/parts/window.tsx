/** A long list of which only the rows in sight are drawn. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

interface Props<Row> {
  rows: Row[];
  height: number;
  label: string;
  keyOf: (row: Row) => string;
  children: (row: Row, index: number) => ComponentChildren;
  /** The end is near. */
  onNearEnd: () => void;
  /** Where the list is kept while the reader looks at something else. */
  memory: string;
}

const MARGIN = 12;
const places = new Map<string, number>();

export function Window<Row>({ rows, height, label, keyOf, children, onNearEnd, memory }: Props<Row>) {
  const box = useRef<HTMLDivElement>(null);
  const [[first, last], setRange] = useState([0, 40]);
  const look = () => {
    const list = box.current;
    if (!list) return;
    places.set(memory, list.scrollTop);
    const from = Math.max(0, Math.floor(list.scrollTop / height) - MARGIN);
    const to = Math.ceil((list.scrollTop + list.clientHeight) / height) + MARGIN;
    setRange((old) => (old[0] === from && old[1] === to ? old : [from, to]));
    if (to >= rows.length) onNearEnd();
  };
  useEffect(look, [rows.length, height]);
  useEffect(() => {
    if (box.current && rows.length) box.current.scrollTop = places.get(memory) ?? 0;
  }, [memory, rows.length > 0]);
  return (
    <div class="window" ref={box} onScroll={look} role="region" aria-label={label} tabIndex={0}>
      <ol style={{ height: `${rows.length * height}px` }}>
        {rows.slice(first, last).map((row, i) => (
          <li
            key={keyOf(row)}
            style={{ top: `${(first + i) * height}px`, height: `${height}px` }}
            aria-posinset={first + i + 1}
            aria-setsize={-1}
          >
            {children(row, first + i)}
          </li>
        ))}
      </ol>
    </div>
  );
}
