/** What SlickGrid leaves out for those who hear the grid or use it by keyboard alone: one element
 * with the role of a grid, indexes of rows, selected cells, the active cell's name. */

import { t } from "../../i18n/i18n.js";

const PANES = ".slick-pane, .slick-viewport, .grid-canvas";

/**
 * The rows move into an element of their own between the two elements that take the focus: they may
 * not be inside a grid.
 *
 * @param {HTMLElement} container
 * @param {string} label
 * @returns {HTMLElement} the element with the role
 */
export function moveRole(container, label) {
  const wrapper = document.createElement("div");
  const panes = [...container.children].filter((child) => child.classList.contains("slick-pane"));
  container.removeAttribute("role");
  panes[0].before(wrapper);
  wrapper.append(...panes);
  wrapper.setAttribute("role", "grid");
  wrapper.setAttribute("aria-label", label);
  for (const pane of wrapper.querySelectorAll(PANES)) pane.removeAttribute("tabindex");
  for (const sink of container.querySelectorAll(":scope > [tabindex='0']")) {
    sink.setAttribute("role", "application");
    sink.setAttribute("aria-label", t("tables.grid_help"));
    sink.classList.add("grid-focus");
  }
  return wrapper;
}

/**
 * Keep the cells below their headers, whatever scrolls these.
 *
 * @param {HTMLElement} container
 */
export function followHeaders(container) {
  for (const side of ["left", "right"]) {
    const header = container.querySelector(`.slick-header-${side}`);
    const viewport = container.querySelector(`.slick-viewport-top.slick-viewport-${side}`);
    header?.addEventListener("scroll", () => {
      if (viewport && viewport.scrollLeft !== header.scrollLeft) {
        viewport.scrollLeft = header.scrollLeft;
      }
    });
  }
}

/**
 * To be called when the grid has another size. Headers have their width in pixels, so one that got
 * the focus just before was scrolled to where it is no more.
 *
 * @param {HTMLElement} container
 */
export function keepFocusInSight(container) {
  const focused = container.querySelector(".slick-header :focus");
  focused?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/**
 * A row is drawn once in each pane, but is to be heard once.
 *
 * @param {HTMLElement} wrapper @param {string} panes a selector @param {boolean} isHidden
 */
export function hidePane(wrapper, panes, isHidden) {
  for (const pane of wrapper.querySelectorAll(panes)) {
    if (isHidden) pane.setAttribute("aria-hidden", "true");
    else pane.removeAttribute("aria-hidden");
  }
}

/** @param {HTMLElement} wrapper @param {number} rows @param {number} columns */
export function setCounts(wrapper, rows, columns) {
  // The line of headers is a row as well.
  wrapper.setAttribute("aria-rowcount", String(rows + 1));
  wrapper.setAttribute("aria-colcount", String(columns));
}

/**
 * Of the rows that are drawn. SlickGrid leaves rows marked that it drew while they were selected.
 *
 * @param {HTMLElement} wrapper @param {(line: number, cell: number) => boolean} isSelected
 */
export function markRows(wrapper, isSelected) {
  for (const row of wrapper.querySelectorAll(".slick-row")) {
    const index = Number(/** @type {HTMLElement} */ (row).dataset.row);
    row.setAttribute("aria-rowindex", String(index + 2));
  }
  for (const cell of wrapper.querySelectorAll(".slick-row:not(.group-row) > .slick-cell")) {
    const line = Number(/** @type {HTMLElement} */ (cell.parentElement).dataset.row);
    const place = Number(/\bl(\d+)\b/.exec(cell.className)?.[1]);
    const isMarked = isSelected(line, place);
    cell.classList.toggle("selected", isMarked);
    cell.setAttribute("aria-selected", String(isMarked));
    cell.setAttribute("tabindex", "-1");
  }
  // Of each part that scrolls, one is reached by the tab key.
  for (const viewport of wrapper.querySelectorAll(".slick-viewport")) {
    const entry = viewport.querySelector(".slick-cell.active") ??
      viewport.querySelector(".slick-cell:not(.row-number)");
    entry?.setAttribute("tabindex", "0");
  }
}

/** @param {HTMLElement} container @param {HTMLElement|null} cell the active one */
export function markActive(container, cell) {
  const id = "table-active-cell";
  document.getElementById(id)?.removeAttribute("id");
  if (cell) cell.id = id;
  for (const sink of container.querySelectorAll(".grid-focus")) {
    if (cell) sink.setAttribute("aria-activedescendant", id);
    else sink.removeAttribute("aria-activedescendant");
  }
}
