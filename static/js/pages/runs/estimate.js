/** What a run will cost, and when it starts. */

import { formatDateTime, formatDuration, formatMoney, formatNumber, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { detailTemplate, explain } from "../../ui/notice.js";

/**
 * @import { Estimate } from "../../client/types.d.ts"
 *
 * @typedef {"now"|"off_peak"|"at"} When
 * @typedef {object} StartForm
 * @property {When} when
 * @property {string} at of the input of a time
 * @property {string} error of that
 * @property {(when: When) => void} onWhen
 * @property {(at: string) => void} onAt
 */

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

/** @param {StartForm} form @param {Estimate|null} estimate */
export function startTemplate({ when, at, error, onWhen, onAt }, estimate) {
  const isCheap = estimate !== null && Date.parse(estimate.off_peak_at) <= Date.now();
  const offPeak = estimate === null || isCheap
    ? t("runs.start_off_peak")
    : t("runs.start_off_peak_at", { time: formatDateTime(estimate.off_peak_at) });
  /** @param {When} value @param {string} label */
  const choice = (value, label) =>
    html`
      <label>
        <input type="radio" name="run-start" value=${value} .checked=${value === when}
          @change=${() => onWhen(value)}>
        <span>${label}</span>
      </label>
    `;
  return html`
    <fieldset class="field choices">
      <legend>${t("runs.start_when")}</legend>
      ${choice("now", t("runs.start_now"))} ${choice("off_peak", offPeak)}
      ${choice("at", t("runs.start_at"))}
    </fieldset>
    ${when === "at"
      ? html`
        <div class="field">
          <label for="run-start-at">${t("runs.start_time")}</label>
          <input id="run-start-at" type="datetime-local" .value=${at}
            aria-invalid=${String(error !== "")} aria-describedby="run-start-at-error"
            @input=${(/** @type {any} */ { target }) => onAt(target.value)}>
          <p class="field-error" id="run-start-at-error">${error}</p>
        </div>
      `
      : nothing}
  `;
}
