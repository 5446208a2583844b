/** What the user asked; a long text is folded. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";

const FOLD = { chars: 700, lines: 12 };

/** @param {string} content @returns {HTMLElement} */
export function createQuestion(content) {
  const article = document.createElement("article");
  article.className = "question";
  article.setAttribute("aria-label", t("question.label"));
  const isLong = content.length > FOLD.chars || content.split("\n").length > FOLD.lines;
  /** @param {boolean} isFolded */
  const show = (isFolded) => render(question(content, isLong, isFolded, show), article);
  show(isLong);
  return article;
}

/**
 * @param {string} content @param {boolean} isLong @param {boolean} isFolded
 * @param {(isFolded: boolean) => void} show
 */
function question(content, isLong, isFolded, show) {
  const toggle = html`
    <button type="button" class="text-button" aria-expanded=${String(!isFolded)}
      @click=${() => show(!isFolded)}>
      ${t(isFolded ? "question.expand" : "question.collapse")}
    </button>
  `;
  // Its white space is kept, so there is none around it.
  return html`
    <div class="question-text ${isFolded ? "folded" : ""}" dir="auto">${content}</div>
    ${isLong ? toggle : nothing}
  `;
}
