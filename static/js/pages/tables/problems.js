/** Edits that the server did not take: cells changed elsewhere, and values it refuses. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { refusalText } from "./cells.js";
import { shownText } from "./values.js";

/**
 * @import { Edit } from "./edits.js"
 * @import { TableSession } from "./session.js"
 */

/** @param {TableSession} session */
export function problemsTemplate(session) {
  const { problems } = session.edits;
  if (problems.length === 0) return html`<p class="muted">${t("tables.no_problems")}</p>`;
  return html`<ul class="problem-list">${
    problems.map((edit) => problemTemplate(session, edit))
  }</ul>`;
}

/** @param {TableSession} session @param {Edit} edit */
function problemTemplate({ edits, data }, edit) {
  const field = data.fields.find(({ key }) => key === edit.key);
  if (!field) return nothing;
  const isConflict = edit.state === "conflict";
  return html`
    <li>
      <strong dir="auto">${t("tables.problem_of", { field: field.name, row: edit.rowId })}</strong>
      <p>${isConflict ? t("tables.edit_conflict") : refusalText(edit)}</p>
      <dl>
        <dt>${t("tables.yours")}</dt>
        <dd dir="auto">${shownText(field, edit.value)}</dd>
        ${isConflict
          ? html`
            <dt>${t("tables.theirs")}</dt>
            <dd dir="auto">${shownText(field, edit.current)}</dd>
          `
          : nothing}
      </dl>
      <div class="problem-actions">
        ${isConflict
          ? html`
            <button type="button" class="button small" @click=${() =>
              edits.overwrite(edit).catch(() => {})}>${t("tables.keep_mine")}</button>
          `
          : nothing}
        <button type="button" class="button small" @click=${() => edits.discard(edit)}>
          ${t(isConflict ? "tables.keep_theirs" : "tables.discard")}
        </button>
      </div>
    </li>
  `;
}
