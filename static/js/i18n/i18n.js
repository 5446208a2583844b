/** Texts, plurals, numbers and dates in the page's language, which the server chose: from the
 * cookie that the settings page writes, else from what the browser asks for. */

/**
 * @import { Catalogue, Key, Part } from "./types.d.ts"
 */

export const LANGUAGES = { en: "English", "zh-hans": "简体中文" };

/** @type {Record<string, () => Promise<{default: Partial<Catalogue>}>>} */
const CATALOGUES = {
  en: () => import("./en.js"),
  "zh-hans": () => import("./zh-hans.js"),
};

/** @param {string} wanted such as "zh-Hans" @returns {string} a language that has a catalogue */
function supported(wanted) {
  const code = wanted.toLowerCase();
  return code in CATALOGUES ? code : "en";
}

export const language = supported(globalThis.document?.documentElement.lang ?? "en");
/** Texts of single pages, loaded with them. @type {Record<Part, typeof CATALOGUES>} */
const PARTS = {
  reasons: {
    en: () => import("./reasons/en.js"),
    "zh-hans": () => import("./reasons/zh-hans.js"),
  },
  tables: {
    en: () => import("./tables/en.js"),
    "zh-hans": () => import("./tables/zh-hans.js"),
  },
};
const { default: texts } = await CATALOGUES[language]();
const catalogue = /** @type {Catalogue} */ ({ ...texts });
const plurals = new Intl.PluralRules(language);
const numbers = new Intl.NumberFormat(language);
const dateTimes = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });

/**
 * Returns a text of the catalogue with `{name}` replaced by `params.name`; numbers are written as
 * the language writes them, and `count` chooses the plural.
 *
 * @param {Key} key
 * @param {Record<string, string|number>} [params]
 * @returns {string}
 */
export function t(key, params = {}) {
  const entry = catalogue[key];
  const text = typeof entry === "string"
    ? entry
    : entry[plurals.select(Number(params.count))] ?? entry.other;
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = params[name];
    return typeof value === "number" ? numbers.format(value) : value;
  });
}

/** Adds the texts of a page. @param {Part} part */
export async function loadTexts(part) {
  Object.assign(catalogue, (await PARTS[part][language]()).default);
}

/**
 * Loads the text of a rule, for pages that do not load all of them. Only the server names a rule, so
 * there is a connection. English shows what the server says.
 *
 * @param {{rule?: string|number}|null} [params] of an error
 */
export async function loadRule(params) {
  const rule = params?.rule;
  if (!rule || language === "en" || isKey(`rule.${rule}`)) return;
  await loadTexts("reasons").catch(console.warn);
}

/** @param {string} key @returns {key is Key} for keys that are put together at run time */
export function isKey(key) {
  return Object.hasOwn(catalogue, key);
}

/**
 * Whether there is a text whose parameters are all given: rows of earlier versions lack some.
 *
 * @param {string} key @param {Record<string, string|number>} params @returns {key is Key}
 */
export function hasTextFor(key, params) {
  if (!isKey(key)) return false;
  const entry = catalogue[key];
  const text = typeof entry === "string" ? entry : entry.other;
  return [...text.matchAll(/\{(\w+)\}/g)].every(([, name]) => Object.hasOwn(params, name));
}

/** @param {string} iso a point in time as the server sends it @returns {string} */
export function formatDateTime(iso) {
  return dateTimes.format(new Date(iso));
}

/** @param {number} value @returns {string} */
export function formatNumber(value) {
  return numbers.format(value);
}

/**
 * Less than a cent is more than nothing: it keeps two digits.
 *
 * @param {string} amount a decimal number @param {string} currency its code; empty: not known
 * @returns {string}
 */
export function formatMoney(amount, currency) {
  const value = Number(amount);
  /** @type {Intl.NumberFormatOptions} */
  const options = value !== 0 && Math.abs(value) < 0.01
    ? { maximumSignificantDigits: 2 }
    : { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  if (currency) {
    Object.assign(options, { style: "currency", currency, currencyDisplay: "narrowSymbol" });
  }
  return new Intl.NumberFormat(language, options).format(value);
}

/** @param {number} seconds @returns {string} in its largest unit, and the next */
export function formatDuration(seconds) {
  if (seconds < 90) return inUnit(Math.ceil(seconds), "second");
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return inUnit(minutes, "minute");
  const hours = Math.floor(minutes / 60);
  return minutes % 60 && hours < 24
    ? `${inUnit(hours, "hour")} ${inUnit(minutes % 60, "minute")}`
    : inUnit(hours, "hour");
}

/** How long something took. @param {number} seconds @returns {string} */
export function formatElapsed(seconds) {
  if (seconds >= 60) return formatDuration(seconds);
  /** @type {any} */
  const options = { style: "unit", unit: "second", unitDisplay: "short" };
  const digits = seconds < 10 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 };
  return new Intl.NumberFormat(language, { ...options, ...digits }).format(seconds);
}

/** @param {number} bytes @returns {string} */
export function formatBytes(bytes) {
  return inUnit(Math.max(Math.round(bytes / 1_048_576), 1), "megabyte");
}

/** @param {number} value @param {string} unit @returns {string} */
function inUnit(value, unit) {
  /** @type {any} */
  const options = { style: "unit", unit, unitDisplay: "short" };
  return new Intl.NumberFormat(language, options).format(value);
}
