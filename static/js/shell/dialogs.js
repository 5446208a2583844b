/** Small questions, asked in the browser's own modal dialog. */

import { t } from "../i18n/i18n.js";
import { html, render } from "../lit.js";
import { find } from "../ui/dom.js";

const TITLE_MAX_CHARS = 200;

/** @param {string} current @returns {Promise<string|null>} the new title, null when left alone */
export async function askName(current) {
  const content = html`
    <div class="field">
      <label for="dialog-name">${t("dialog.rename.label")}</label>
      <input id="dialog-name" type="text" value=${current} maxlength=${TITLE_MAX_CHARS} required
        autocomplete="off" dir="auto">
    </div>
  `;
  const heading = t("dialog.rename.heading");
  const { dialog, answer } = ask(heading, t("dialog.rename.action"), "primary", content);
  /** @type {HTMLInputElement} */
  const input = find(dialog, "input");
  input.select();
  return (await answer) ? input.value.trim() : null;
}

/** @param {string} title @returns {Promise<boolean>} */
export function confirmRemoval(title) {
  const text = t("dialog.delete.text", { title: title || t("sidebar.untitled") });
  const content = html`<p class="muted">${text}</p>`;
  const heading = t("dialog.delete.heading");
  return ask(heading, t("dialog.delete.action"), "danger", content).answer;
}

/**
 * @param {string} heading @param {string} text @param {string} action what its button says
 * @returns {Promise<boolean>}
 */
export function confirmAction(heading, text, action) {
  return ask(heading, action, "danger", html`<p class="muted">${text}</p>`).answer;
}

/**
 * @param {string} heading @param {string} action @param {string} style of the action's button
 * @param {unknown} content
 * @returns {{dialog: HTMLDialogElement, answer: Promise<boolean>}}
 */
function ask(heading, action, style, content) {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  dialog.setAttribute("aria-labelledby", "dialog-heading");
  const form = html`
    <form method="dialog">
      <h2 id="dialog-heading">${heading}</h2>
      ${content}
      <div class="dialog-actions">
        <button type="button" class="button" @click=${() => dialog.close()}>
          ${t("dialog.cancel")}
        </button>
        <button type="submit" value="yes" class="button ${style}">${action}</button>
      </div>
    </form>
  `;
  render(form, dialog);
  document.body.append(dialog);
  dialog.showModal();
  const answer = new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
  return { dialog, answer };
}
