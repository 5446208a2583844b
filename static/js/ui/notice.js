/** What an error code means to the person in front of the page. */

import { isKey, t } from "../i18n/i18n.js";
import { html, nothing } from "../lit.js";

/**
 * @typedef {object} Failure
 * @property {string} [code]
 * @property {string} [message]
 * @property {number} [status]
 * @property {string} [reason] name of the message
 * @property {Record<string, string>} [params] of the message
 */

/**
 * The server's message in the page's language, if the page has loaded the catalogue "reasons".
 *
 * @param {Failure} error @returns {string}
 */
export function messageOf({ message = "", reason, params }) {
  const key = `reason.${reason}`;
  return isKey(key) ? t(key, params) : message;
}

/** @param {Failure} error @returns {{title: string, help: string}} in the page's language */
export function explain(error) {
  const { code = "", status = 0 } = error;
  const message = messageOf(error);
  const name = code.startsWith("provider_timeout") ? "provider_timeout" : code;
  const [title, help] = [`error.${name}.title`, `error.${name}.help`];
  if (isKey(title) && isKey(help)) return { title: t(title), help: t(help, { message, status }) };
  return { title: t("error.unknown.title"), help: message || t("error.unknown.help") };
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
