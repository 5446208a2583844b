/** The line below a table: how many rows, what is being saved, what was said last. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { notice } from "../../ui/notice.js";

/**
 * @import { TableSession } from "./session.js"
 *
 * @typedef {object} StatusParts
 * @property {TableSession} session
 * @property {string} message
 * @property {(() => unknown)|null} undo what takes back what the message is about
 * @property {any} error
 * @property {() => void} onProblems
 * @property {(undo: () => unknown) => void} onUndo
 * @property {() => void} onDismiss of the error
 */

/** @param {StatusParts} parts */
/** @param {StatusParts} parts */
export function statusTemplate({ session, message, undo, error, onProblems, onUndo, onDismiss }) {
  const { edits, changes } = session;
  const count = edits.waiting;
  return html`
    <span class="status-count">${t("tables.rows", { count: session.rowCount })}</span>
    <span class="status-edits" role="status">${edits.isOffline
      ? t("tables.offline", { count })
      : count
      ? t("tables.saving", { count })
      : ""}</span>
    ${edits.problems.length
      ? html`
        <button type="button" class="text-button problem" @click=${() => onProblems()}>
          ${t("tables.problems", { count: edits.problems.length })}
        </button>
      `
      : nothing}
    ${changes
      ? html`
        <button type="button" class="text-button" @click=${() => session.reopen()}>
          ${t("tables.changes", { count: changes })}
        </button>
      `
      : nothing}
    <span class="status-message" role="status">${message}</span>
    ${undo
      ? html`
        <button type="button" class="text-button" @click=${() => onUndo(undo)}>
          ${icon("undo")}${t("tables.undo")}
        </button>
      `
      : nothing}
    ${error
      ? html`<div class="notices">${notice(error)}<button type="button"
              class="text-button" @click=${() => onDismiss()}>${t("tables.close")}</button></div>`
      : nothing}
  `;
}
