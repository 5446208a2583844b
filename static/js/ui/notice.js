/** What an error code means to the person in front of the page. */

import { isKey, t } from "../i18n/i18n.js";
import { html, nothing } from "../lit.js";

/** @typedef {{code?: string, message?: string, status?: number}} Failure */

/** @param {Failure} error @returns {{title: string, help: string}} in the page's language */
export function explain({ code = "", message = "", status = 0 }) {
  const name = code.startsWith("provider_timeout") ? "provider_timeout" : code;
  const [title, help] = [`error.${name}.title`, `error.${name}.help`];
  if (isKey(title) && isKey(help)) return { title: t(title), help: t(help, { message, status }) };
  return { title: t("error.unknown.title"), help: message || t("error.unknown.help") };
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
