/** Buttons that copy a text to the clipboard. */

import { t } from "../i18n/i18n.js";
import { render } from "../lit.js";
import { icon } from "./icons.js";

const SHOWN_MS = 1600;

/**
 * @param {() => string} textOf what to copy, asked when pressed
 * @param {string} label for those who do not see the icon
 * @returns {HTMLElement}
 */
export function copyButton(textOf, label) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "icon-button copy";
  /** @param {"copy"|"check"} name @param {string} text */
  const show = (name, text) => {
    render(icon(name), button);
    button.setAttribute("aria-label", text);
  };
  button.title = label;
  show("copy", label);
  button.addEventListener("click", async () => {
    const isCopied = await copyText(textOf());
    show(isCopied ? "check" : "copy", t(isCopied ? "copy.done" : "copy.failed"));
    setTimeout(() => show("copy", label), SHOWN_MS);
  });
  return button;
}

/**
 * The clipboard interface exists on HTTPS and localhost only; elsewhere a selection must do.
 *
 * @param {string} text @returns {Promise<boolean>}
 */
function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(() => true, () => false);
  }
  const area = document.createElement("textarea");
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  return Promise.resolve(isCopied);
}
