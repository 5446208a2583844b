/** What Markdown has here beyond its common form. Syntax is part of the first page; what draws a
 * block's finished parts may be large, and is loaded when the first such part is there. */

import { t } from "../i18n/i18n.js";
import { cjkEmphasis } from "./cjk_emphasis.js";
import { code } from "./code.js";
import { mathSyntax } from "./math_syntax.js";
import { tables } from "./tables.js";

/**
 * @typedef {object} Extension
 * @property {object} [syntax] an extension of marked
 * @property {string} [selector] elements of a block, which `decorate` changes at once
 * @property {(element: HTMLElement) => void} [decorate]
 * @property {string} [lazySelector] elements of a finished block that the loaded function changes
 * @property {() => Promise<{default: (element: HTMLElement) => void}>} [load]
 */

/** @type {Extension[]} */
export const EXTENSIONS = [
  { syntax: cjkEmphasis },
  {
    syntax: mathSyntax,
    lazySelector: "code.math",
    load: () => import("./math.js"),
  },
  {
    selector: "pre",
    decorate: code,
    lazySelector: 'pre > code[class*="language-"]',
    load: () => import("./highlight.js"),
  },
  { selector: "table", decorate: tables },
  {
    selector: "input",
    decorate(box) {
      const isChecked = box.hasAttribute("checked");
      box.setAttribute("aria-label", t(isChecked ? "markdown.checked" : "markdown.unchecked"));
    },
  },
  {
    // Arabic and English paragraphs in one answer: each has its own direction.
    selector: "p, li, h1, h2, h3, h4, h5, h6, blockquote, td, th",
    decorate: (element) => (element.dir = "auto"),
  },
];
