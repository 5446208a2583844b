/** Buttons that copy a text to the clipboard. */

import { h, icon } from "./dom.js";

const SHOWN_MS = 1600;

/**
 * @param {() => string} textOf what to copy, asked when pressed
 * @param {string} label for those who do not see the icon
 * @returns {HTMLElement}
 */
export function copyButton(textOf, label) {
  const button = h("button", {
    type: "button",
    class: "icon-button copy",
    "aria-label": label,
    title: label,
  });
  button.append(icon("copy"));
  button.addEventListener("click", async () => {
    const copied = await copyText(textOf());
    button.replaceChildren(icon(copied ? "check" : "copy"));
    button.setAttribute("aria-label", copied ? "Copied" : "Copying failed");
    setTimeout(() => {
      button.replaceChildren(icon("copy"));
      button.setAttribute("aria-label", label);
    }, SHOWN_MS);
  });
  return button;
}

/** The clipboard interface exists on HTTPS and localhost only; elsewhere a selection must do. */
async function copyText(text) {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  }
  const area = h("textarea", { class: "visually-hidden", value: text });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}
