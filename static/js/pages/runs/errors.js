/** What is wrong with the file of a run, by line. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { detailTemplate, explain } from "../../ui/notice.js";

/** @import { LineError, RunData } from "../../client/types.d.ts" */

/** @param {RunData} run */
export function fileErrors({ state, counts, errors = [] }) {
  if (errors.length === 0) return nothing;
  const isRefused = state === "failed";
  const heading = isRefused
    ? t("runs.file_refused")
    : t("runs.lines_left_out", { count: counts.invalid });
  return html`
    <details class="file-errors ${isRefused ? "refused" : ""}" ?open=${isRefused}>
      <summary>${heading}</summary>
      <ul>${errors.map(lineTemplate)}</ul>
      ${counts.invalid > errors.length
        ? html`<p class="muted">${t("runs.first_lines", { count: errors.length })}</p>`
        : nothing}
    </details>
  `;
}

/** @param {LineError} error */
function lineTemplate({ line, code, message, param, params }) {
  const { title } = explain({ code, message, params });
  return html`
    <li>
      ${line === null
        ? nothing
        : html`<span class="line-number">${t("runs.line", { line })}</span>`}
      <span>${title}${param
        ? html`
          <code>${param}</code>
        `
        : nothing}</span>
      ${detailTemplate({ code, message, params })}
    </li>
  `;
}
