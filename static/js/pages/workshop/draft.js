/** What an editor writes of a version: texts, which are read as the server wants them. */

import { parseExactly, stringify } from "../../client/json.js";

/**
 * A version as the REST interface sends it.
 *
 * @typedef {object} Version
 * @property {number} number
 * @property {boolean} is_live
 * @property {string} system_template
 * @property {string} user_template
 * @property {Record<string, any>} variables_schema
 * @property {Record<string, any>|null} output_schema
 * @property {string|null} model
 * @property {string[]} fallback_models
 * @property {Record<string, any>} params
 * @property {string[]} tools names of those that the model may call
 * @property {number|null} max_tool_steps
 * @property {number|null} max_tool_seconds
 * @property {number|null} max_tool_result_bytes
 * @property {string|null} max_tool_cost
 * @property {boolean} single_flight
 * @property {number} cache_ttl_seconds
 * @property {string} notes
 * @property {string|null} created_by
 * @property {string|null} published_at
 */

/** @typedef {Record<"system_template"|"user_template"|"variables_schema"|"output_schema"|"model"|"params"|"tools"|"notes"|Limit, string>} Texts */
/** @typedef {"max_tool_steps"|"max_tool_seconds"|"max_tool_result_bytes"|"max_tool_cost"} Limit */

/** Limits of the tool loop; empty: those of the installation. @type {Limit[]} */
export const LIMITS = [
  "max_tool_steps",
  "max_tool_seconds",
  "max_tool_result_bytes",
  "max_tool_cost",
];

/** A text that is no JSON where that is asked for. */
export class NotJsonError extends Error {
  /** @param {string} field */
  constructor(field) {
    super(field);
    this.code = "not_json";
    this.field = field;
  }
}

/** @param {Version} version @returns {Texts} */
export function textsOf(version) {
  return {
    system_template: version.system_template,
    user_template: version.user_template,
    variables_schema: textOf(version.variables_schema),
    output_schema: textOf(version.output_schema ?? {}),
    model: version.model ?? "",
    params: textOf(version.params),
    tools: version.tools.join("\n"),
    ...limitTexts(version),
    notes: version.notes,
  };
}

/** @param {Version} version @returns {Record<Limit, string>} */
function limitTexts(version) {
  const texts = LIMITS.map((name) => [name, String(version[name] ?? "")]);
  return /** @type {Record<Limit, string>} */ (Object.fromEntries(texts));
}

/** @param {Record<string, any>} value @returns {string} empty for an empty object */
function textOf(value) {
  return Object.keys(value).length === 0 ? "" : stringify(value, 2);
}

/** @param {Texts} texts @returns {Record<string, any>} @throws {NotJsonError} */
export function fieldsOf(texts) {
  return {
    ...texts,
    model: texts.model || null,
    variables_schema: objectOf(texts, "variables_schema"),
    output_schema: schemaOrNull(texts),
    params: objectOf(texts, "params"),
    tools: toolsOf(texts),
    ...Object.fromEntries(LIMITS.map((name) => [name, limitOf(texts, name)])),
  };
}

/** @param {Texts} texts @param {Limit} name @returns {number|string|null} money stays a text */
function limitOf(texts, name) {
  const text = texts[name].trim();
  if (text === "") return null;
  return name === "max_tool_cost" ? text : Number(text);
}

/** @param {Texts} texts @returns {string[]} names */
export function toolsOf({ tools }) {
  return tools.split("\n").filter(Boolean);
}

/** @param {Texts} texts @returns {Record<string, any>|null} what answers fit, null for texts */
export function schemaOrNull(texts) {
  return texts.output_schema.trim() === "" ? null : objectOf(texts, "output_schema");
}

/** @param {Texts} texts @param {"variables_schema"|"output_schema"|"params"} field */
export function objectOf(texts, field) {
  if (texts[field].trim() === "") return {};
  try {
    return parseExactly(texts[field]);
  } catch {
    throw new NotJsonError(field);
  }
}

/** @param {Version} version @returns {Record<string, any>} what a copy of it begins with */
export function copyOf(version) {
  const { system_template, user_template, variables_schema, output_schema } = version;
  const { model, fallback_models, params, tools, single_flight, cache_ttl_seconds } = version;
  const { max_tool_steps, max_tool_seconds, max_tool_result_bytes, max_tool_cost } = version;
  return {
    system_template,
    user_template,
    variables_schema,
    output_schema,
    model,
    fallback_models,
    params,
    tools,
    max_tool_steps,
    max_tool_seconds,
    max_tool_result_bytes,
    max_tool_cost,
    single_flight,
    cache_ttl_seconds,
  };
}

/** @param {Texts} one @param {Texts} other */
export function isEqual(one, other) {
  return stringify(one) === stringify(other);
}
