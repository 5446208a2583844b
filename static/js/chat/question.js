/** What the user asked; a long text is folded. */

import { h } from "./dom.js";

const FOLD = { chars: 700, lines: 12 };

/** @param {string} content @returns {HTMLElement} */
export function createQuestion(content) {
  const text = h("div", { class: "question-text" }, content);
  const article = h("article", { class: "question", "aria-label": "You" }, text);
  if (content.length <= FOLD.chars && content.split("\n").length <= FOLD.lines) return article;
  const toggle = h(
    "button",
    { type: "button", class: "text-button", "aria-expanded": "false" },
    "Show all",
  );
  text.classList.add("folded");
  toggle.addEventListener("click", () => {
    const folded = text.classList.toggle("folded");
    toggle.textContent = folded ? "Show all" : "Show less";
    toggle.setAttribute("aria-expanded", String(!folded));
  });
  article.append(toggle);
  return article;
}
