/** Answers as Markdown, made safe: the text comes from a model and may hold anything. */

import DOMPurify from "../../vendor/dompurify/purify.js";
import { Marked } from "../../vendor/marked/marked.js";
import { copyButton } from "./copy.js";

const TAGS = (
  "a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i input kbd li ol p pre s strong sub sup " +
  "table tbody td th thead tr u ul"
).split(" ");
const HARMLESS_HTML = /^<\/?(b|br|i|kbd|s|sub|sup|u)\s*\/?>$/i;

const marked = new Marked({
  gfm: true,
  renderer: {
    // HTML that a model writes is something to read, not to run.
    html: ({ text }) => (HARMLESS_HTML.test(text.trim()) ? text : escape(text)),
    // Loading a picture would tell its host who reads what; the page's CSP forbids it, too.
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
  },
});

const purify = DOMPurify(window);
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});
const PLAIN_ATTRIBUTES = [
  "align",
  "checked",
  "class",
  "disabled",
  "rel",
  "start",
  "target",
  "type",
];
const SANITIZE = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", ...PLAIN_ATTRIBUTES],
  ALLOW_DATA_ATTR: false,
  // It is asked of every attribute that is not named as harmless.
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: PLAIN_ATTRIBUTES,
  RETURN_DOM_FRAGMENT: true,
};

function escape(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character]);
}

/**
 * Show `text` in `container`. Only blocks that changed since the last call are built again, so a
 * growing answer costs its last paragraph, and a selection in an earlier one survives.
 *
 * @param {HTMLElement} container holds nothing else
 * @param {string} text
 */
export function renderMarkdown(container, text) {
  const all = marked.lexer(text);
  const tokens = all.filter(({ type }) => type !== "space" && type !== "def");
  // A link's definition may come after the paragraphs that use it.
  const mayReuse = tokens.length === all.filter(({ type }) => type !== "space").length;
  const blocks = container.children;
  tokens.forEach((token, index) => {
    const block = blocks[index];
    if (mayReuse && block?.source === token.raw) return;
    const fresh = renderBlock(token);
    if (block) block.replaceWith(fresh);
    else container.append(fresh);
  });
  while (blocks.length > tokens.length) container.lastElementChild.remove();
}

function renderBlock(token) {
  const block = document.createElement("div");
  block.className = "md-block";
  block.source = token.raw;
  block.append(purify.sanitize(marked.parser([token]), SANITIZE));
  for (const table of block.querySelectorAll("table")) wrapTable(table);
  for (const pre of block.querySelectorAll("pre")) frameCode(pre);
  return block;
}

/** A wide table scrolls by itself instead of widening the page. */
function wrapTable(table) {
  const wrap = document.createElement("div");
  wrap.className = "md-table";
  wrap.tabIndex = 0;
  wrap.setAttribute("role", "region");
  wrap.setAttribute("aria-label", "Table");
  table.replaceWith(wrap);
  wrap.append(table);
}

function frameCode(pre) {
  const language = /language-([\w+#.-]+)/.exec(pre.firstElementChild?.className)?.[1] ?? "";
  const frame = document.createElement("div");
  frame.className = "md-code";
  const bar = document.createElement("div");
  bar.className = "md-code-bar";
  const label = document.createElement("span");
  label.textContent = language || "text";
  bar.append(
    label,
    copyButton(() => pre.textContent, "Copy code"),
  );
  pre.tabIndex = 0;
  pre.replaceWith(frame);
  frame.append(bar, pre);
}
