/** Draws TeX as MathML, which browsers lay out themselves: no fonts, no inline styles. */

// @ts-types="../../../tests/js/types/temml.d.ts"
import temml from "../../vendor/temml/temml.js";
import { sanitizeMath } from "./sanitize.js";

/** Longer ones would take long; they stay as they are written. */
const MAX_CHARS = 5000;

/** Parsing them alone would break the page's CSP; the classes beside them do what is needed. */
const STYLES = / style="[^"]*"/g;

/** @param {HTMLElement} element the code that holds the TeX */
export default function drawMath(element) {
  const tex = element.textContent ?? "";
  if (tex.length > MAX_CHARS) return;
  const displayMode = element.classList.contains("math-display");
  try {
    const html = temml.renderToString(tex, { displayMode, throwOnError: true, maxExpand: 200 });
    const math = sanitizeMath(html.replace(STYLES, ""));
    const drawn = math.querySelector("math");
    if (!drawn) return;
    // What is copied is what the model wrote.
    drawn.setAttribute("aria-label", tex);
    element.replaceWith(math);
  } catch {
    // It is no TeX, or none that is known: it stays as it is written.
  }
}
