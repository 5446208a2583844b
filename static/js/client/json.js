/** JSON with exact integers: beyond 2^53 they are BigInts, which `JSON` neither reads nor writes. */

/** @param {string} text @returns {any} @throws {SyntaxError} */
export function parseExactly(text) {
  // Where a browser does not yet pass the source on, such a number is rounded.
  return JSON.parse(text, exact);
}

/** @param {string} _ @param {unknown} value @param {{source?: string}} [context] */
function exact(_, value, context) {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  return context?.source && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

/**
 * `JSON.stringify`, of plain data that may have BigInts.
 *
 * @param {unknown} value @param {number} [indent] @returns {string}
 */
export function stringify(value, indent = 0) {
  return write(value, indent ? "\n" : "", indent);
}

/** @param {any} value @param {string} line what ends a line and begins the next @param {number} indent */
function write(value, line, indent) {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const inner = line && line + " ".repeat(indent);
  const isList = Array.isArray(value);
  /** @type {string[]} */
  const parts = isList
    ? value.map((/** @type {unknown} */ item) => write(item ?? null, inner, indent))
    : Object.entries(value).filter(([, item]) => item !== undefined).map(([name, item]) =>
      `${JSON.stringify(name)}:${line ? " " : ""}${write(item, inner, indent)}`
    );
  const [open, close] = isList ? "[]" : "{}";
  if (parts.length === 0) return open + close;
  return `${open}${inner}${parts.join(`,${inner}`)}${line}${close}`;
}
