/** What is wrong with a value, in words beside its field. The server checks all again. */

/**
 * @import { Key } from "../i18n/types.d.ts"
 * @import { Node, SchemaObject } from "./types.d.ts"
 * @typedef {{key: Key, params?: Record<string, string|number>}} Complaint
 */

/**
 * Looser than the standards: what is nearly one is a slip that people want pointed out.
 *
 * @type {Record<string, {pattern: RegExp, key: Key}>}
 */
const FORMATS = {
  "date": { pattern: /^\d{4}-\d\d-\d\d$/, key: "form.no_date" },
  "date-time": {
    pattern: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/,
    key: "form.no_date_time",
  },
  "time": {
    pattern: /^\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)$/,
    key: "form.no_time",
  },
  "email": { pattern: /^[^\s@]+@[^\s@]+$/, key: "form.no_email" },
  "uri": { pattern: /^[a-z][a-z\d+.-]*:[^\s]+$/i, key: "form.no_uri" },
  "uuid": { pattern: /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i, key: "form.no_uuid" },
};

/** @param {string} kind @param {string} text @returns {Complaint|null} */
export function whyNotNumber(kind, text) {
  if (kind === "integer" && !/^[+-]?\d+$/.test(text)) return { key: "form.not_integer" };
  const isNumber = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text);
  return isNumber && Number.isFinite(Number(text)) ? null : { key: "form.not_number" };
}

/** @param {Node} node @param {any} value @returns {Complaint|null} */
export function check({ kind, schema }, value) {
  if (kind === "integer" || kind === "number") return checkNumber(schema, value);
  if (kind === "text" || kind === "line") return checkText(schema, value);
  if (kind === "list") return checkList(schema, value);
  return null;
}

/** @param {SchemaObject} schema @param {number|bigint} value @returns {Complaint|null} */
function checkNumber(schema, value) {
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf } = schema;
  const say = (/** @type {Key} */ key, /** @type {number|bigint} */ limit) => ({
    key,
    params: { limit: String(limit) },
  });
  if (isNumber(minimum) && value < minimum) return say("form.below", minimum);
  if (isNumber(maximum) && value > maximum) return say("form.above", maximum);
  if (isNumber(exclusiveMinimum) && value <= exclusiveMinimum) {
    return say("form.not_above", exclusiveMinimum);
  }
  if (isNumber(exclusiveMaximum) && value >= exclusiveMaximum) {
    return say("form.not_below", exclusiveMaximum);
  }
  if (isNumber(multipleOf) && multipleOf > 0 && !isMultiple(value, multipleOf)) {
    return say("form.not_multiple", multipleOf);
  }
  return null;
}

/** @param {unknown} value @returns {value is number|bigint} */
function isNumber(value) {
  return typeof value === "number" || typeof value === "bigint";
}

/**
 * As both are written: 0.3 is a multiple of 0.1, though not to a computer.
 *
 * @param {number|bigint} value @param {number|bigint} divisor
 */
function isMultiple(value, divisor) {
  const [one, other] = [decimalOf(value), decimalOf(divisor)];
  const places = Math.max(one.places, other.places);
  const scaled = (/** @type {{digits: bigint, places: number}} */ { digits, places: own }) =>
    digits * 10n ** BigInt(places - own);
  return scaled(one) % scaled(other) === 0n;
}

/** @param {number|bigint} value @returns {{digits: bigint, places: number}} digits / 10^places */
function decimalOf(value) {
  const [mantissa, exponent = "0"] = String(value).split("e");
  const [whole, fraction = ""] = mantissa.split(".");
  const places = fraction.length - Number(exponent);
  const digits = BigInt(whole + fraction);
  return places < 0 ? { digits: digits * 10n ** BigInt(-places), places: 0 } : { digits, places };
}

/** @param {SchemaObject} schema @param {string} value @returns {Complaint|null} */
function checkText({ minLength, maxLength, pattern, format }, value) {
  // In characters, as the server counts them.
  const length = [...value].length;
  if (typeof minLength === "number" && length < minLength) {
    return { key: "form.too_short", params: { count: minLength } };
  }
  if (typeof maxLength === "number" && length > maxLength) {
    return { key: "form.too_long", params: { count: maxLength } };
  }
  const known = Object.hasOwn(FORMATS, format ?? "") ? FORMATS[format ?? ""] : null;
  if (known && !known.pattern.test(value)) return { key: known.key };
  if (typeof pattern === "string" && !matches(pattern, value)) return { key: "form.no_match" };
  return null;
}

/** Patterns are RE2's; what is none of JavaScript's is left to the server.
 * @param {string} pattern @param {string} value */
function matches(pattern, value) {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true;
  }
}

/** @param {SchemaObject} schema @param {unknown[]} value @returns {Complaint|null} */
function checkList({ minItems, maxItems }, value) {
  if (typeof minItems === "number" && value.length < minItems) {
    return { key: "form.too_few", params: { count: minItems } };
  }
  if (typeof maxItems === "number" && value.length > maxItems) {
    return { key: "form.too_many", params: { count: maxItems } };
  }
  return null;
}
