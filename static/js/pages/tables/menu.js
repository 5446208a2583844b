/** A menu below a button: arrows move in it, Escape and a click elsewhere close it. */

import { html, nothing, render } from "../../lit.js";
import { icon } from "../../ui/icons.js";

/**
 * @typedef {object} Item
 * @property {string} label
 * @property {() => void} action
 * @property {Parameters<typeof icon>[0]} [mark] name of its icon
 * @property {boolean} [isDanger]
 * @property {boolean} [isChecked] a choice of several
 * @property {string} [keys] that do the same
 */

/** @param {Element} anchor @param {string} label of the menu @param {(Item|null)[]} items null: a line */
export function openMenu(anchor, label, items) {
  const opener = /** @type {HTMLElement|null} */ (document.activeElement);
  const menu = document.createElement("div");
  menu.className = "table-menu";
  menu.popover = "auto";
  menu.setAttribute("role", "menu");
  menu.setAttribute("aria-label", label);
  /** @param {Item} item */
  const choose = ({ action }) => {
    menu.hidePopover();
    action();
  };
  render(items.map((item) => item ? itemTemplate(item, () => choose(item)) : lineTemplate()), menu);
  menu.addEventListener("keydown", (event) => move(menu, event));
  menu.addEventListener("toggle", (event) => {
    if (/** @type {ToggleEvent} */ (event).newState !== "closed") return;
    if (menu.contains(document.activeElement)) opener?.focus();
    menu.remove();
  });
  (anchor.closest("dialog") ?? document.body).append(menu);
  menu.showPopover();
  place(menu, anchor.getBoundingClientRect());
  menu.querySelector("button")?.focus();
}

/** @param {Item} item @param {() => void} choose */
function itemTemplate({ label, mark, isDanger, isChecked, keys }, choose) {
  const isChoice = isChecked !== undefined;
  return html`
    <button type="button" class=${isDanger ? "danger" : ""} tabindex="-1" @click=${choose}
      role=${isChoice ? "menuitemradio" : "menuitem"}
      aria-checked=${isChoice ? String(isChecked) : nothing}>
      ${isChecked ? icon("check") : mark ? icon(mark) : html`<span class="icon"></span>`}
      <span>${label}</span>${keys ? html`<kbd>${keys}</kbd>` : nothing}
    </button>
  `;
}

function lineTemplate() {
  return html`<div class="table-menu-line" role="separator"></div>`;
}

/** @param {HTMLElement} menu @param {DOMRect} anchor */
function place(menu, { left, bottom, top }) {
  const { offsetWidth: width, offsetHeight: height } = menu;
  const fits = bottom + height < innerHeight - 8;
  menu.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
  menu.style.top = `${Math.max(8, fits ? bottom + 4 : top - height - 4)}px`;
}

/** @param {HTMLElement} menu @param {KeyboardEvent} event */
function move(menu, event) {
  const items = [...menu.querySelectorAll("button")];
  const at = items.indexOf(/** @type {any} */ (document.activeElement));
  const steps = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
  if (event.key === "Tab") return menu.hidePopover();
  if (!(event.key in steps)) return;
  event.preventDefault();
  const next = steps[/** @type {keyof typeof steps} */ (event.key)];
  items[(next + items.length) % items.length]?.focus();
}
