/** Small questions, asked in the browser's own modal dialog. */

import { h } from "./dom.js";

const TITLE_MAX_CHARS = 200;

/** @param {string} current @returns {Promise<string|null>} the new title, null when left alone */
export async function askName(current) {
  const input = h("input", {
    id: "dialog-name",
    type: "text",
    value: current,
    maxlength: TITLE_MAX_CHARS,
    required: true,
    autocomplete: "off",
  });
  const confirmed = ask("Rename conversation", "Rename", "primary", [
    h("div", { class: "field" }, h("label", { for: "dialog-name" }, "Title"), input),
  ]);
  input.select();
  return (await confirmed) ? input.value.trim() : null;
}

/** @param {string} title @returns {Promise<boolean>} */
export function confirmRemoval(title) {
  return ask("Delete conversation?", "Delete", "danger", [
    h("p", { class: "muted" }, `“${title || "Untitled"}” and its messages will be gone for good.`),
  ]);
}

function ask(heading, action, style, content) {
  const cancel = h("button", { type: "button", class: "button" }, "Cancel");
  const confirm = h("button", { type: "submit", value: "yes", class: `button ${style}` }, action);
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "dialog-heading" },
    h(
      "form",
      { method: "dialog" },
      h("h2", { id: "dialog-heading" }, heading),
      ...content,
      h("div", { class: "dialog-actions" }, cancel, confirm),
    ),
  );
  cancel.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}
