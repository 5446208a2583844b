/** What a run will cost. */

import { formatDuration, formatMoney, formatNumber, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { detailTemplate, explain } from "../../ui/notice.js";

/** @import { Estimate } from "../../client/types.d.ts" */

/** @param {Estimate} estimate */
export function estimateTemplate(estimate) {
  const { likely, off_peak, at_most, currency, seconds, based_on } = estimate;
  const tokens = t("runs.tokens_of", {
    prompt: likely.prompt_tokens,
    completion: likely.completion_tokens,
  });
  return html`
    <dl class="estimate">
      ${item(t("runs.price_now"), formatMoney(likely.cost, currency), "price")}
      ${item(t("runs.price_off_peak"), formatMoney(off_peak.cost, currency), "price")}
      ${item(t("runs.at_most"), formatMoney(at_most.cost, currency))}
      ${item(t("runs.rows_to_come"), formatNumber(estimate.rows))}
      ${item(t("runs.tokens"), tokens)}
      ${seconds === null ? nothing : item(t("runs.takes"), formatDuration(Math.max(seconds, 1)))}
      ${item(t("composer.model"), estimate.model)}
    </dl>
    <p class="muted based-on">${t(`runs.based_on.${based_on}`)}</p>
    ${estimate.problems.length ? problemsTemplate(estimate) : nothing}
  `;
}

/** @param {string} label @param {unknown} value @param {string} [style] */
function item(label, value, style = "") {
  return html`
    <div class=${style}>
      <dt>${label}</dt>
      <dd>${value}</dd>
    </div>
  `;
}

/** @param {Estimate} estimate */
function problemsTemplate({ problems, sampled }) {
  return html`
    <details class="file-errors">
      <summary>${t("runs.problems", { count: problems.length, sampled })}</summary>
      <ul>
        ${problems.map(({ row, code, message, field, params }) =>
          html`
            <li>
              <span class="line-number">${t("runs.row_of", { row })}</span>
              <span>${explain({ code }).title}${field
                ? html`
                  <code>${field}</code>
                `
                : nothing}</span> ${detailTemplate({ code, message, params })}
            </li>
          `
        )}
      </ul>
    </details>
  `;
}
