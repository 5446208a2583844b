/** TeX between `$…$`, `$$…$$`, `\(…\)` and `\[…\]`: shown as code until it is drawn. */

import { escape } from "./escape.js";

/** A price is no formula: no space inside the dollars, and no digit after the second. */
const INLINE =
  /^(?:\$(?![\s$])((?:\\[^\n]|[^$\\\n])+?)(?<!\s)\$(?!\d)|\\\(((?:(?!\\\))[^\n])+?)\\\))/;
const BLOCK = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
const DISPLAY_INLINE = /^\$\$([^$\n]+?)\$\$/;

/** @param {string} tex @param {boolean} isDisplay */
function toHtml(tex, isDisplay) {
  const name = isDisplay ? "math math-display" : "math";
  return `<code class="${name}">${escape(tex.trim())}</code>`;
}

/** Extension of marked. */
export const mathSyntax = {
  extensions: [
    {
      name: "mathBlock",
      level: "block",
      start: (/** @type {string} */ src) => src.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
      tokenizer(/** @type {string} */ src) {
        const match = BLOCK.exec(src);
        return match ? { type: "mathBlock", raw: match[0], text: match[1] ?? match[2] } : undefined;
      },
      renderer: (/** @type {{text: string}} */ { text }) => `<p>${toHtml(text, true)}</p>`,
    },
    {
      name: "math",
      level: "inline",
      start: (/** @type {string} */ src) => src.match(/\$|\\\(/)?.index,
      tokenizer(/** @type {string} */ src) {
        const display = DISPLAY_INLINE.exec(src);
        if (display) return { type: "math", raw: display[0], text: display[1], isDisplay: true };
        const match = INLINE.exec(src);
        if (!match) return undefined;
        return { type: "math", raw: match[0], text: match[1] ?? match[2], isDisplay: false };
      },
      renderer: (/** @type {{text: string, isDisplay: boolean}} */ { text, isDisplay }) =>
        toHtml(text, isDisplay),
    },
  ],
};
