/** Values of cells: as people read and write them, and as spreadsheets exchange them. */

import { formatDateTime, language, t } from "../../i18n/i18n.js";

/**
 * @import { Field, Kind, Value } from "./types.d.ts"
 * @typedef {{value: Value}|{error: string}} Parsed
 */

/** Kinds of fields. @type {Kind[]} */
export const KINDS = [
  "text",
  "long_text",
  "integer",
  "number",
  "boolean",
  "date",
  "datetime",
  "select",
  "multi_select",
  "url",
  "email",
  "json",
  "link",
];
/** Links cannot become other kinds, nor others links; files have none. */
export const UNLINKED_KINDS = KINDS.filter((kind) => kind !== "link");

const YES = ["true", "yes", "y", "1", "x", "✓", "是", "对", "真"];
const NO = ["false", "no", "n", "0", "", "否", "错", "假"];
/** More of them are noise of binary fractions. */
const MAX_DECIMALS = 10;
const dates = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone: "UTC" });

/** @param {Value} value @returns {boolean} */
export function isEmpty(value) {
  return value === null || value === undefined || value === "" ||
    (Array.isArray(value) && value.length === 0);
}

/** @param {Value} a @param {Value} b @returns {boolean} */
export function isSame(a, b) {
  if (isEmpty(a) || isEmpty(b)) return isEmpty(a) && isEmpty(b);
  return a === b || (typeof a === "object" && JSON.stringify(a) === JSON.stringify(b));
}

/** @param {Field} field @param {Value} value @returns {string} what its cell shows */
export function shownText(field, value) {
  if (isEmpty(value)) return "";
  if (field.kind === "integer" || field.kind === "number") return numberText(value, field);
  if (field.kind === "date") return dateText(String(value));
  if (field.kind === "datetime") return formatDateTime(String(value));
  if (field.kind === "boolean") return t(value ? "form.yes" : "form.no");
  return plainText(field, value);
}

/** @param {number} value @param {Field} field */
function numberText(value, { options: { decimals, unit } }) {
  const text = new Intl.NumberFormat(language, {
    minimumFractionDigits: decimals ?? 0,
    maximumFractionDigits: decimals ?? MAX_DECIMALS,
  }).format(value);
  return unit ? `${text} ${unit}` : text;
}

/** @param {string} iso */
function dateText(iso) {
  const date = new Date(`${iso}T00:00:00Z`);
  return Number.isNaN(date.getTime()) ? iso : dates.format(date);
}

/** @param {Field} field @param {Value} value @returns {string} as a spreadsheet takes it */
export function plainText(field, value) {
  if (isEmpty(value)) return "";
  if (field.kind === "select") return choiceName(field, value);
  if (field.kind === "multi_select") {
    return value.map((/** @type {number} */ id) => choiceName(field, id)).join(", ");
  }
  if (field.kind === "link") {
    return value.map((/** @type {number} */ id) => linkLabel(field, id)).join(", ");
  }
  if (field.kind === "boolean") return value ? "TRUE" : "FALSE";
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** @param {Field} field @param {Value} id @returns {string} */
export function choiceName(field, id) {
  return field.options.choices?.find((choice) => choice.id === id)?.name ?? String(id);
}

/** @param {Field} field @param {number} id of a row of another table @returns {string} */
export function linkLabel(field, id) {
  return field.labels?.get(id) ?? `#${id}`;
}

/** @type {Partial<Record<Kind, (text: string, field: Field) => Parsed>>} */
const PARSERS = {
  integer: (text) => {
    const plain = withoutGroups(text);
    const value = Number(plain);
    const isExact = /^[+-]?\d+$/.test(plain) && Number.isSafeInteger(value);
    return isExact ? { value } : { error: t("form.not_integer") };
  },
  number: (text) => {
    const plain = withoutGroups(text);
    const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(plain);
    const value = Number(plain);
    // Infinity would be sent as nothing.
    return isNumber && Number.isFinite(value) ? { value } : { error: t("form.not_number") };
  },
  boolean: (text) => {
    const word = text.toLowerCase();
    if (YES.includes(word)) return { value: true };
    return NO.includes(word) ? { value: false } : { error: t("tables.not_boolean") };
  },
  date: (text) => {
    const iso = isoDate(text);
    return iso ? { value: iso } : { error: t("form.no_date") };
  },
  datetime: (text) => {
    const date = new Date(isoMoment(text));
    const isValid = !Number.isNaN(date.getTime());
    return isValid ? { value: date.toISOString() } : { error: t("form.no_date_time") };
  },
  select: (text, field) => {
    const choice = findChoice(field, text);
    return choice ? { value: choice.id } : { error: t("tables.no_choice", { text }) };
  },
  multi_select: (text, field) => {
    const found = text.split(",").map((part) => part.trim()).filter(Boolean).map((part) =>
      findChoice(field, part)
    );
    if (found.some((choice) => !choice)) return { error: t("tables.no_choice", { text }) };
    return { value: found.map((choice) => choice?.id) };
  },
  json: (text) => {
    try {
      return { value: JSON.parse(text) };
    } catch {
      return { error: t("form.not_json") };
    }
  },
  email: (text) => /^\S+@\S+\.\S+$/.test(text) ? { value: text } : { error: t("form.no_email") },
  url: (text) => /^https?:\/\/\S+$/i.test(text) ? { value: text } : { error: t("form.no_uri") },
  link: () => ({ error: t("tables.not_pasted") }),
};

/** @param {Field} field @param {string} text typed or pasted @returns {Parsed} */
export function parseText(field, text) {
  const isText = field.kind === "text" || field.kind === "long_text";
  if (isText) return { value: text === "" ? null : text };
  const trimmed = text.trim();
  if (trimmed === "") return { value: null };
  return PARSERS[field.kind]?.(trimmed, field) ?? { value: trimmed };
}

/** "1,234.5" as "1234.5". @param {string} text */
function withoutGroups(text) {
  const plain = text.replace(/[\s\u00a0\u202f_]/g, "");
  return /^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(plain) ? plain.replaceAll(",", "") : plain;
}

/** @param {string} text such as "2026-1-31", "2026/01/31", "2026年1月31日" @returns {string} */
function isoDate(text) {
  const match = /^(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?$/.exec(text);
  if (!match) return "";
  const iso = `${match[1]}-${match[2].padStart(2, "0")}-${match[3].padStart(2, "0")}`;
  const date = new Date(`${iso}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(iso) ? iso : "";
}

const MOMENT =
  /^(\S+?)(?:[T\s]\s*(\d{1,2})(:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i;

/** A date with a time, or without: midnight here. Browsers take "5" for a date as well.
 * @param {string} text @returns {string} "": it is none */
function isoMoment(text) {
  const match = MOMENT.exec(text);
  const date = isoDate(match?.[1] ?? "");
  if (!match || !date) return "";
  const [, , hour = "00", rest = ":00", zone = ""] = match;
  return `${date}T${hour.padStart(2, "0")}${rest}${zone}`;
}

/** @param {Field} field @param {string} label */
function findChoice(field, label) {
  const wanted = label.trim().toLowerCase();
  return field.options.choices?.find((choice) => choice.name.toLowerCase() === wanted);
}
