/** Prompts and answers on the page of a task, as Markdown: made safe, as models write anything. */

import DOMPurify from "../../vendor/dompurify/purify.js";
import { Marked } from "../../vendor/marked/marked.js";

const TAGS = [
  "a", "b", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i",
  "li", "ol", "p", "pre", "s", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr",
  "ul",
];
/** @type {Record<string, string>} */
const NAMES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** @param {string} text */
const escape = (text) => text.replace(/[&<>"']/g, (character) => NAMES[character]);

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    // HTML in a prompt is something to read.
    html: ({ text }) => escape(text),
    // Loading a picture would tell its host that staff reads this.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});

for (const block of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-markdown]")
)) {
  const written = /** @type {string} */ (marked.parse(block.textContent ?? ""));
  const safe = DOMPurify.sanitize(written, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ["href", "start", "align"],
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    ADD_URI_SAFE_ATTR: ["start", "align"],
    RETURN_DOM_FRAGMENT: true,
  });
  for (const link of safe.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  block.replaceChildren(safe);
  block.classList.add("is-rendered");
}
