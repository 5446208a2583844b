/** HTML made safe: it comes from a model and may hold anything. */

// @ts-types="../../../tests/js/types/purify.d.ts"
import DOMPurify from "../../vendor/dompurify/purify.js";

const TAGS = (
  "a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i input kbd li ol p pre s strong sub sup " +
  "table tbody td th thead tr u ul"
).split(" ");
const HARMLESS_ATTRIBUTES = [
  "align",
  "checked",
  "class",
  "disabled",
  "rel",
  "start",
  "target",
  "type",
];
const OPTIONS = {
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};
const MARKDOWN = {
  ...OPTIONS,
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", ...HARMLESS_ATTRIBUTES],
  // It is asked of every attribute that is not named as harmless.
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  ADD_URI_SAFE_ATTR: HARMLESS_ATTRIBUTES,
};
const HIGHLIGHTED = { ...OPTIONS, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] };
const MATH = { ...OPTIONS, USE_PROFILES: { mathMl: true }, FORBID_ATTR: ["style", "href"] };

const purify = DOMPurify(window);
purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

/** @param {string} html @returns {DocumentFragment} */
export const sanitizeMarkdown = (html) => purify.sanitize(html, MARKDOWN);
/** @param {string} html @returns {DocumentFragment} */
export const sanitizeHighlighted = (html) => purify.sanitize(html, HIGHLIGHTED);
/** @param {string} html @returns {DocumentFragment} */
export const sanitizeMath = (html) => purify.sanitize(html, MATH);
