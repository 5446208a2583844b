/** Prompts and answers on the page of a task, as the web app shows them. */

import { MarkdownView } from "../markdown/view.js";

for (const block of document.querySelectorAll("[data-markdown]")) {
  const text = block.textContent ?? "";
  block.replaceChildren();
  new MarkdownView(/** @type {HTMLElement} */ (block)).show(text, true, Infinity);
  block.classList.add("is-rendered");
}
