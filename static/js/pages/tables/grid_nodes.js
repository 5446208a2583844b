/** What the grid has in its headers and its rows of groups. */

import { t } from "../../i18n/i18n.js";
import { render } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { shownText } from "./values.js";

/**
 * @import { Heading } from "./layout.js"
 * @import { Field } from "./types.d.ts"
 */

/** @param {Heading} heading @param {string} text @param {() => void} onToggle */
export function groupToggle(heading, text, onToggle) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "group-toggle";
  button.setAttribute("aria-expanded", String(!heading.isClosed));
  render(icon("chevron"), button);
  button.append(text);
  button.addEventListener("click", onToggle);
  return button;
}

/** @param {Field} field @param {(anchor: Element) => void} onMenu */
export function menuButton(field, onMenu) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "icon-button field-menu";
  button.setAttribute("aria-label", t("tables.field_menu", { name: field.name }));
  button.setAttribute("aria-haspopup", "menu");
  render(icon(field.ai_field ? "spark" : "chevron"), button);
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    onMenu(button);
  });
  return button;
}

/** @param {Field} field @param {Heading} heading @returns {string} */
export function headingLabel(field, heading) {
  const value = shownText(field, heading.value) || t("tables.empty_group");
  return t("tables.group_heading", { field: field.name, value, count: heading.count });
}
