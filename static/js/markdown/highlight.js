/** Colours the code of finished blocks whose language is named. */

// @ts-types="../../../tests/js/types/highlight.d.ts"
import highlighter from "../../vendor/highlight/highlight.js";
import { sanitizeHighlighted } from "./sanitize.js";

/** Longer code stays plain: to colour it would take the page more than a moment. */
const MAX_CHARS = 20_000;

/** @param {HTMLElement} element the code, with its language as a class */
export default function highlight(element) {
  const language = /language-([\w+#.-]+)/.exec(element.className)?.[1] ?? "";
  const text = element.textContent ?? "";
  if (text.length > MAX_CHARS || !highlighter.getLanguage(language)) return;
  const { value } = highlighter.highlight(text, { language, ignoreIllegals: true });
  element.replaceChildren(sanitizeHighlighted(value));
}
