/** Choosing one of several, and being told how a form went. */

import { visible } from "../text";

interface ChooseProps {
  label: string;
  value: string;
  /** Value and words of each. */
  options: [string, string][];
  onChange: (value: string) => void;
  /** The label is for screen readers only. */
  bare?: boolean;
}

export function Choose({ label, value, options, onChange, bare = false }: ChooseProps) {
  return (
    <label class="field">
      <span class={bare ? "hidden" : ""}>{label}</span>
      <select value={value} onChange={(event) => onChange(event.currentTarget.value)}>
        {options.map(([key, words]) => (
          <option value={key} key={key}>
            {visible(words)}
          </option>
        ))}
      </select>
    </label>
  );
}

interface FieldProps {
  label: string;
  value: string;
  onInput: (value: string) => void;
  numeric?: boolean;
  placeholder?: string;
  required?: boolean;
}

export function Field({ label, value, onInput, numeric = false, ...rest }: FieldProps) {
  return (
    <label class="field">
      <span>{label}</span>
      <input
        value={value}
        inputmode={numeric ? "decimal" : undefined}
        class={numeric ? "numeric" : ""}
        onInput={(event) => onInput(event.currentTarget.value)}
        autocomplete="off"
        {...rest}
      />
    </label>
  );
}
