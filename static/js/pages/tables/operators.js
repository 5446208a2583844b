/** How the values of a field can be compared in filters, by its kind. */

import { t } from "../../i18n/i18n.js";

/**
 * @import { Field, Kind } from "./types.d.ts"
 * @typedef {"none"|"one"|"two"|"text"|"many"|"choice"|"choices"|"span"|"states"} Operand
 */

const TEXT = {
  contains: "text",
  not_contains: "text",
  starts_with: "text",
  is: "one",
  is_not: "one",
};
const ORDERED = {
  is: "one",
  is_not: "one",
  gt: "one",
  gte: "one",
  lt: "one",
  lte: "one",
  between: "two",
};
const SOME = { empty: "none", not_empty: "none" };
/** @type {Record<Kind, Record<string, string>>} */
const BY_KIND = {
  text: TEXT,
  long_text: TEXT,
  url: TEXT,
  email: TEXT,
  integer: ORDERED,
  number: ORDERED,
  boolean: { is: "choice" },
  date: { ...ORDERED, is_within: "span" },
  datetime: { ...ORDERED, is_within: "span" },
  select: { is: "choice", is_not: "choice", in: "choices" },
  multi_select: { contains: "choice", not_contains: "choice", in: "choices" },
  json: { contains: "text", not_contains: "text" },
  link: { contains: "text", not_contains: "text" },
};
const AI = { state_in: "states" };

export const SPANS = /** @type {const} */ ([
  "today",
  "yesterday",
  "tomorrow",
  "this_week",
  "last_week",
  "next_week",
  "this_month",
  "last_month",
  "last_7_days",
  "last_30_days",
  "next_7_days",
  "this_year",
]);
export const STATES = /** @type {const} */ ([
  "none",
  "queued",
  "running",
  "done",
  "failed",
  "stale",
  "edited",
  "rejected",
]);

/** @param {Field} field @returns {Record<string, string>} what each operator compares with */
function operandsOf(field) {
  return { ...BY_KIND[field.kind], ...SOME, ...(field.ai_field ? AI : {}) };
}

/** @param {Field} field @returns {[string, string][]} operators and what they are called */
export function operatorsOf(field) {
  return Object.keys(operandsOf(field)).map((
    op,
  ) => [op, t(/** @type {any} */ (`tables.op.${op}`))]);
}

/** @param {Field} field @param {string} op @returns {Operand} */
export function operandOf(field, op) {
  return /** @type {Operand} */ (operandsOf(field)[op] ?? "text");
}
