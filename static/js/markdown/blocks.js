/** From Markdown to the elements of one block. */

// @ts-types="../../../tests/js/types/marked.d.ts"
import { Lexer, Marked } from "../../vendor/marked/marked.js";
import { escape } from "./escape.js";
import { EXTENSIONS } from "./extensions.js";
import { sanitizeMarkdown } from "./sanitize.js";

/**
 * @import { Links, Token } from "../../../tests/js/types/marked.d.ts"
 * @import { Block } from "./types.d.ts"
 */

const HARMLESS_HTML = /^<\/?(b|br|i|kbd|s|sub|sup|u)\s*\/?>$/i;
/** Longer blocks (a table of thousands of rows) are shown as they are written: to build one takes
 * longer than the page may be busy. */
const MAX_BLOCK_CHARS = 60_000;

const marked = new Marked({
  gfm: true,
  renderer: {
    // HTML that a model writes is something to read, not to run.
    html: ({ text }) => (HARMLESS_HTML.test(text.trim()) ? text : escape(text)),
    // Loading a picture would tell its host who reads what; the page's CSP forbids it, too.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});
for (const { syntax } of EXTENSIONS) if (syntax) marked.use(syntax);

/**
 * @param {string} text
 * @param {Links} links definitions known so far; those in `text` are added
 * @returns {Token[]} whose `raw` is `text`, put together
 */
export function lex(text, links) {
  const lexer = new Lexer(marked.defaults);
  lexer.tokens.links = links;
  return lexer.lex(text);
}

/** @param {Token} token @returns {Block} */
export function renderBlock(token) {
  const block = /** @type {Block} */ (document.createElement("div"));
  block.className = token.type === "heading" ? "md-block md-heading" : "md-block";
  block.source = token.raw;
  if (token.raw.length > MAX_BLOCK_CHARS && token.type !== "code") {
    block.classList.add("md-plain");
    block.dir = "auto";
    block.textContent = token.raw;
    return block;
  }
  block.append(sanitizeMarkdown(marked.parser([token])));
  for (const { selector, decorate } of EXTENSIONS) {
    if (!selector || !decorate) continue;
    for (const element of block.querySelectorAll(selector)) {
      decorate(/** @type {HTMLElement} */ (element));
    }
  }
  return block;
}

/** Draw what needs more code, which is loaded the first time. @param {Block} block is finished */
export function finishBlock(block) {
  if (block.isFinished) return;
  block.isFinished = true;
  for (const { lazySelector, load } of EXTENSIONS) {
    if (!lazySelector || !load) continue;
    const elements = block.querySelectorAll(lazySelector);
    if (elements.length) drawLater(elements, load);
  }
}

/** @param {NodeListOf<Element>} elements @param {NonNullable<EXTENSIONS[0]["load"]>} load */
async function drawLater(elements, load) {
  try {
    const { default: draw } = await load();
    for (const element of elements) draw(/** @type {HTMLElement} */ (element));
  } catch (error) {
    // Without it, the text is still there as it was written.
    console.warn("markdown", error);
  }
}
