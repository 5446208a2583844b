/** The tools above a table. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { countConditions } from "./filter_tree.js";
import { addField } from "./fields_menu.js";
import { openMenu } from "./menu.js";
import { tableMenu, viewMenu } from "./views_menu.js";

/**
 * @import { App } from "../../shell/types.d.ts"
 * @import { TablesApi } from "./api.js"
 * @import { FieldTools } from "./fields_menu.js"
 * @import { Panel, PanelName } from "./panel.js"
 * @import { TableSession } from "./session.js"
 *
 * @typedef {object} ToolbarParts
 * @property {App} app
 * @property {TablesApi} api
 * @property {TableSession} session
 * @property {Panel} panel
 * @property {boolean} isCards
 * @property {boolean} isNarrow
 * @property {() => void} onAddRow
 * @property {() => void} onUndo
 * @property {() => void} onRedo
 * @property {() => void} onToggleCards
 * @property {() => void} onImport
 * @property {() => void} onExport
 * @property {(id: number|null) => void} onView
 * @property {(text: string) => void} say
 * @property {FieldTools} fieldTools
 */

/** @param {ToolbarParts} parts */
export function toolbar(parts) {
  const { session } = parts;
  const { view, may } = session;
  const { filter, sorts, groups, hidden } = view.state;
  const open = (/** @type {Event} */ event) => viewMenu(anchorOf(event), parts);
  return html`
    <div class="tool-group">
      <button type="button" class="button small view-name" aria-haspopup="menu" @click=${open}
        title=${t("tables.views")}>
        ${icon("table")}<span dir="auto">${view.view.name}</span>${icon("chevron")}
      </button>
    </div>
    <div class="tool-group">
      ${panelButton(parts, "filter", "filter", t("tables.filter"), countConditions(filter))}
      ${panelButton(parts, "sort", "sort", t("tables.sort"), sorts.length)}
      ${panelButton(parts, "group", "group", t("tables.group"), groups.length)}
      ${panelButton(parts, "fields", "eye", t("tables.fields"), hidden.length)}
    </div>
    <div class="tool-group">
      ${panelButton(parts, "runs", "spark", t("tables.ai"), 0)}
    </div>
    <div class="tool-group">
      ${may.edit
        ? html`
          <button type="button" class="button small" @click=${parts.onAddRow}>
            ${icon("plus")}<span>${t("tables.add_row")}</span>
          </button>
          <button type="button" class="button small" @click=${() => addField(parts.fieldTools)}>
            ${icon("plus")}<span>${t("tables.add_field")}</span>
          </button>
          ${iconButton("undo", t("tables.undo"), parts.onUndo)}
          ${iconButton("redo", t("tables.redo"), parts.onRedo)}
        `
        : nothing}
      ${parts.isNarrow
        ? html`
          <button type="button" class="button small" @click=${parts.onToggleCards}>
            ${t(parts.isCards ? "tables.show_grid" : "tables.show_cards")}
          </button>
        `
        : nothing}
      <button type="button" class="icon-button" aria-haspopup="menu" aria-label=${t("tables.more")}
        title=${t("tables.more")} @click=${(/** @type {Event} */ event) =>
          openMenu(anchorOf(event), t("tables.more"), tableMenu(parts))}>${icon("more")}</button>
    </div>
  `;
}

/** @param {Event} event @returns {HTMLElement} */
function anchorOf(event) {
  return /** @type {HTMLElement} */ (event.currentTarget);
}

/**
 * @param {ToolbarParts} parts @param {PanelName} name @param {Parameters<typeof icon>[0]} mark
 * @param {string} label @param {number} count of what is set
 */
function panelButton({ panel }, name, mark, label, count) {
  return html`
    <button type="button" class="button small ${count ? "active" : ""}" data-panel=${name}
      aria-expanded=${String(panel.name === name)} @click=${() => panel.toggle(name)}>
      ${count ? html`<span class="count">${count}</span>` : icon(mark)}<span>${label}</span>
    </button>
  `;
}

/** @param {Parameters<typeof icon>[0]} mark @param {string} label @param {() => void} action */
function iconButton(mark, label, action) {
  return html`
    <button type="button" class="icon-button" aria-label=${label} title=${label}
      @click=${action}>
      ${icon(mark)}
    </button>
  `;
}
