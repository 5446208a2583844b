/** A wide table scrolls by itself instead of widening the page. */

import { t } from "../i18n/i18n.js";

/** @param {HTMLElement} table */
export function tables(table) {
  const frame = document.createElement("div");
  frame.className = "md-table";
  frame.tabIndex = 0;
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", t("markdown.table"));
  table.replaceWith(frame);
  frame.append(table);
}
