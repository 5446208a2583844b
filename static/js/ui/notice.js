/** What an error code means to the person in front of the page. */

import { hasTextFor, isKey, language, t } from "../i18n/i18n.js";
import { html, nothing } from "../lit.js";

/**
 * @typedef {object} Failure
 * @property {string} [code]
 * @property {string} [message] in English
 * @property {number} [status]
 * @property {Record<string, string|number>} [params] `rule`: the keyword of a schema
 * @property {import("../client/api.js").FieldError[]} [errors] of each wrong field
 */

/** Codes whose text says little: the sentence of a rule is shown instead. */
const VAGUE = new Set(["forbidden", "not_found"]);
/** At most so many wrong fields are named, as the server's sentence names them. */
const MAX_NAMED = 3;

/** @param {Failure} error @returns {{title: string, help: string}} in the page's language */
export function explain(error) {
  const { code = "", status = 0, params = {} } = error;
  const exact = detail(error);
  const message = ofFields(error) ?? exact.text;
  const name = code.startsWith("provider_timeout") ? "provider_timeout" : code;
  const [title, help] = [`error.${name}.title`, `error.${name}.help`];
  if (isKey(title) && VAGUE.has(code) && params.rule && exact.language === language) {
    return { title: t(title), help: message };
  }
  if (isKey(title) && isKey(help)) return { title: t(title), help: t(help, { message, status }) };
  return { title: t("error.unknown.title"), help: message || t("error.unknown.help") };
}

/**
 * What is wrong with each field of a request; English shows the server's sentence, which says it.
 *
 * @param {Failure} error @returns {string|null} null: the error is not about several fields
 */
function ofFields({ errors = [] }) {
  if (language === "en" || !errors.some(({ params }) => params)) return null;
  const texts = errors.slice(0, MAX_NAMED).map(({ field, message, params }) => {
    const key = `field.${field.split(".").at(-1)}`;
    const name = isKey(key) ? t(key) : field;
    return t("error.of_field", { field: name, message: detail({ message, params }).text });
  });
  return texts.join("");
}

/**
 * What exactly is wrong. English is as the server or the provider has said it, which knows more, such
 * as the place in a line; other languages have texts of the catalogue.
 *
 * @param {Failure} error @returns {{text: string, language: string}}
 */
export function detail({ code = "", message = "", params = {} }) {
  if (language === "en" && message) return { text: message, language };
  const key = params.rule ? `rule.${params.rule}` : `detail.${code}`;
  return hasTextFor(key, params)
    ? { text: t(key, labelled(params)), language }
    : { text: message, language: "en" };
}

/**
 * Parameters with names of the API in the page's language, where it has one.
 *
 * @param {Record<string, string|number>} params @returns {Record<string, string|number>}
 */
function labelled(params) {
  const { rule, limit, kind, permission } = params;
  const found = { ...params };
  if (rule === "type") {
    const names = String(limit).split(", ");
    found.limit = names.map((name) => label(`type.${name}`, name)).join(t("list.comma"));
  }
  if (kind) found.kind = label(`tables.kind.${kind}`, kind);
  if (permission) found.permission = permissionLabel(String(permission));
  return found;
}

/** @param {string} name of a permission on a table, or such as `chat.change_scene` */
function permissionLabel(name) {
  const [, action = name, kind = ""] = /^\w+\.([a-z]+)_(\w+)$/.exec(name) ?? [];
  const [verb, noun] = [`permission.${action}`, `permission.of.${kind}`];
  if (!isKey(verb) || (kind && !isKey(noun))) return name;
  return kind && isKey(noun)
    ? t("permission.text", { verb: t(verb), noun: t(noun), name })
    : t(verb);
}

/** @param {string} key @param {string|number} name @returns {string|number} */
function label(key, name) {
  return isKey(key) ? t(key) : name;
}

/** @param {Failure} error @param {string} [style] */
export function detailTemplate(error, style = "muted") {
  const { text, language } = detail(error);
  return html`<span class=${style} lang=${language}>${text}</span>`;
}

/** @param {Failure} error @returns {string} in one line */
export function errorText(error) {
  return t("toast.text", explain(error));
}

/** @param {Failure|null} error */
export function notice(error) {
  if (!error) return nothing;
  const { title, help } = explain(error);
  return html`
    <div class="notice" role="alert">
      <strong>${title}</strong>
      <p>${help}</p>
      ${error.code ? html`<code>${error.code}</code>` : nothing}
    </div>
  `;
}
