/** The parts of lit-html that this app uses: a template's markup is parsed once, and each rendering
 * changes only what differs. It needs no build and no `unsafe-eval`. */

// @ts-types="../../tests/js/types/lit-html.d.ts"
export { html, nothing, render } from "../vendor/lit-html/lit-html.js";
// @ts-types="../../tests/js/types/lit-html.d.ts"
export { repeat } from "../vendor/lit-html/directives/repeat.js";
