/** What an error code means to the person in front of the page. */

import { hasTextFor, isKey, language, t } from "../i18n/i18n.js";
import { html, nothing } from "../lit.js";

/**
 * @typedef {object} Failure
 * @property {string} [code]
 * @property {string} [message] in English
 * @property {number} [status]
 * @property {Record<string, string|number>} [params] `rule`: the keyword of a schema
 */

/** Codes whose text says little: the sentence of a rule is shown instead. */
const VAGUE = new Set(["forbidden", "not_found"]);

/** @param {Failure} error @returns {{title: string, help: string}} in the page's language */
export function explain(error) {
  const { code = "", status = 0, params = {} } = error;
  const exact = detail(error);
  const message = exact.text;
  const name = code.startsWith("provider_timeout") ? "provider_timeout" : code;
  const [title, help] = [`error.${name}.title`, `error.${name}.help`];
  if (isKey(title) && VAGUE.has(code) && params.rule && exact.language === language) {
    return { title: t(title), help: message };
  }
  if (isKey(title) && isKey(help)) return { title: t(title), help: t(help, { message, status }) };
  return { title: t("error.unknown.title"), help: message || t("error.unknown.help") };
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
    ? { text: t(key, params), language }
    : { text: message, language: "en" };
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
