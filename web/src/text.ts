/** Words and numbers as people read them. */

const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Text that we did not write: characters that would hide, or turn the text around them, are named instead. */
export function visible(text: string): string {
  return text.replace(/\r\n/g, "\n").replace(UNSEEN, (c) => {
    const code = c.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

const MINUS = "−";

/** A number in at most `digits` significant digits, large ones with thousands apart; "–" where there is none. */
export function number(value: number | null | undefined, digits = 3): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size >= 10 ** digits
      ? Math.round(size).toLocaleString("en-US")
      : size !== 0 && size < 0.001
        ? size.toExponential(1)
        : String(Number(size.toPrecision(digits)));
  return value < 0 ? MINUS + text : text;
}

export const share = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `${number(100 * value, 3)} %`;

export const signed = (value: number | null | undefined): string =>
  value !== null && value !== undefined && value > 0 ? `+${number(value)}` : number(value);

export const dollars = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `$${value >= 100 ? number(value) : value.toFixed(value < 1 ? 3 : 2)}`;

export const plural = (n: number, one: string, many = `${one}s`): string =>
  `${n.toLocaleString("en-US")} ${n === 1 ? one : many}`;

/** The first digits of a digest. */
export const short = (id: string | null | undefined): string => (id ? id.slice(0, 10) : "–");

/** `speaks_to_grader` as words. */
export const words = (name: string): string => name.replace(/[_/]+/g, " ");
