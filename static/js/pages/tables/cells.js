/** What a cell of the grid shows: nodes and text, never HTML. */

import { isKey, t } from "../../i18n/i18n.js";
import { errorText, explain } from "../../ui/notice.js";
import { choiceName, isEmpty, linkLabel, shownText } from "./values.js";

/**
 * @import { Edit } from "./edits.js"
 * @import { AiCell, Field, Value } from "./types.d.ts"
 */

/** Texts are cut before they reach the page: a cell shows a line of them. */
const MAX_CHARS = 300;
const COLORS = 8;

/**
 * @param {Field} field @param {Value} value @param {Edit|undefined} edit @param {AiCell|undefined} ai
 * @returns {HTMLElement}
 */
export function cellNode(field, value, edit, ai) {
  const node = document.createElement("span");
  node.className = `cell cell-${field.kind}`;
  node.dir = "auto";
  if (ai && isUnderWay(ai)) node.append(stateNode(ai));
  else if (ai?.state === "failed" && isEmpty(value)) node.append(failureNode(ai));
  else node.append(...content(field, value));
  const mark = edit ? editMark(edit) : ai ? aiMark(ai) : null;
  if (mark) node.append(mark);
  return node;
}

/** @param {Field} field @param {Value} value @returns {(Node|string)[]} */
function content(field, value) {
  if (isEmpty(value)) return [];
  if (field.kind === "select") return [choiceChip(field, value)];
  if (field.kind === "multi_select") {
    return value.map((/** @type {number} */ id) => choiceChip(field, id));
  }
  if (field.kind === "link") {
    return value.map((/** @type {number} */ id) => chip(linkLabel(field, id), "link"));
  }
  if (field.kind === "boolean") return [value ? "✓" : "–"];
  if (field.kind === "url") return [linkNode(String(value))];
  return [shownText(field, value).slice(0, MAX_CHARS)];
}

/** @param {string} text @param {string} style */
function chip(text, style) {
  const node = document.createElement("span");
  node.className = `chip ${style}`;
  node.textContent = text.slice(0, MAX_CHARS);
  return node;
}

/** @param {Field} field @param {number} id */
function choiceChip(field, id) {
  return chip(choiceName(field, id), `chip-${Number(id) % COLORS}`);
}

/** @param {string} address @returns {Node|string} */
function linkNode(address) {
  if (!/^https?:\/\//i.test(address)) return address;
  const node = document.createElement("a");
  node.href = address;
  node.target = "_blank";
  node.rel = "noopener noreferrer";
  node.tabIndex = -1;
  node.textContent = address.slice(0, MAX_CHARS);
  return node;
}

/** @param {AiCell} ai @returns {boolean} */
export function isUnderWay({ state }) {
  return state === "queued" || state === "running";
}

/** @param {string} state of a cell of an AI field @returns {string} */
export function stateText(state) {
  const key = `tables.cell.${state}`;
  return isKey(key) ? t(key) : state;
}

/** @param {AiCell} ai */
function stateNode({ state }) {
  const node = document.createElement("span");
  node.className = `cell-state ${state}`;
  node.textContent = stateText(state);
  return node;
}

/** @param {AiCell} ai */
function failureNode({ code }) {
  const node = document.createElement("span");
  node.className = "cell-state failed";
  node.textContent = code ? explain({ code }).title : stateText("failed");
  return node;
}

/** @param {Edit} edit @returns {string} why it was not taken */
export function refusalText({ code, message, params }) {
  return code ? errorText({ code, message, params }) : message || t("tables.edit_refused");
}

/** @param {Edit} edit */
function editMark(edit) {
  const label = {
    waiting: t("tables.edit_waiting"),
    sent: t("tables.edit_waiting"),
    conflict: t("tables.edit_conflict"),
    refused: refusalText(edit),
  }[edit.state];
  return markNode(`edit-${edit.state}`, label);
}

/** @param {AiCell} ai */
function aiMark({ state, why, thumb }) {
  if (state === "stale") return markNode("ai-stale", staleText(why));
  if (state === "failed" || state === "edited" || state === "rejected") {
    return markNode(`ai-${state}`, stateText(state));
  }
  if (!thumb) return null;
  return thumb > 0
    ? markNode("ai-good", t("tables.thumb.good"))
    : markNode("ai-bad", t("tables.thumb.bad"));
}

/** @param {AiCell["why"]} [why] @returns {string} */
export function staleText(why = []) {
  if (why.length === 0) return stateText("stale");
  return why.map((name) => t(`tables.stale.${name}`)).join(" ");
}

/** @param {string} style @param {string} label */
function markNode(style, label) {
  const node = document.createElement("span");
  node.className = `cell-mark ${style}`;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", label);
  node.title = label;
  return node;
}
