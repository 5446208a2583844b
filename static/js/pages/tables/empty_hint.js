/** What to do with a table without rows. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";

/** @param {HTMLElement} element @param {import("./session.js").TableSession} session
 * @param {boolean} isEmpty */
export function showHint(element, { may, view }, isEmpty) {
  const mayFill = may.edit && !view.state.filter;
  const lines = html`
    <p>${t("tables.no_rows")}</p>
    ${mayFill ? html`<p class="muted">${t("tables.no_rows_help")}</p>` : nothing}
  `;
  render(isEmpty ? lines : nothing, element);
}
