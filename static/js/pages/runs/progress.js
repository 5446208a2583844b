/** How far a run is, as text and as a bar. */

import {
  formatDateTime,
  formatDuration,
  formatMoney,
  formatNumber,
  isKey,
  t,
} from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { errorText } from "../../ui/notice.js";

/** @import { RunData } from "../../client/types.d.ts" */

/** Rows that are shown in the bar, in this order; the rest is what is to come. */
const PARTS = /** @type {const} */ (["succeeded", "failed", "expired", "cancelled", "open"]);

/** @param {RunData} run */
export function stateBadge({ state }) {
  return html`<span class="badge run-state ${state}">${t(`runs.state.${state}`)}</span>`;
}

/** @param {RunData} run @returns {number} rows that can be sent */
export function sendable({ counts }) {
  return counts.total - counts.invalid;
}

/** @param {RunData} run @returns {number} rows that were run and have ended */
export function endedRows({ counts }) {
  return counts.succeeded + counts.failed + counts.expired + counts.cancelled;
}

/** @param {RunData} run @returns {string} */
export function countsText(run) {
  if (run.state === "validating") return t("runs.read_rows", { count: run.counts.total });
  if (run.state === "failed") return "";
  if (run.state === "ready") return t("runs.rows", { count: sendable(run) });
  return t("runs.done_of", { done: endedRows(run), count: sendable(run) });
}

/** @param {RunData} run */
export function barTemplate(run) {
  const total = sendable(run);
  const done = total ? Math.floor((endedRows(run) / total) * 100) : 0;
  return html`
    <span class="run-bar ${run.state}" role="progressbar" aria-label=${t("runs.progress")}
      aria-valuemin="0" aria-valuemax="100" aria-valuenow=${done} aria-valuetext=${countsText(run)}>
      ${PARTS.map((part) =>
        html`
          <span class="run-bar-part ${part}"
            .style=${`flex-grow: ${run.counts[part]}`}></span>
        `
      )}
      <span .style=${`flex-grow: ${run.counts.pending}`}></span>
    </span>
  `;
}

/** Why it is in its state. @param {RunData} run @returns {string} empty where that needs no words */
export function reasonText({ state, reason, message, params, start_at, max_cost, currency }) {
  const key = `runs.reason.${reason}`;
  const limit = max_cost === null ? "" : formatMoney(max_cost, currency);
  if (state === "scheduled" && start_at && isKey(key)) {
    return `${t(key)} ${t("runs.starts_at", { time: formatDateTime(start_at) })}`;
  }
  if (isKey(key)) return t(key, { limit });
  if (!reason || reason === "asked") return "";
  return errorText({ code: reason, message, params: params ?? {} });
}

/** @param {RunData} run */
export function figuresTemplate(run) {
  const { counts, rows_per_second: rate, eta_seconds: eta } = run;
  const figures = [
    figure("succeeded", formatNumber(counts.succeeded)),
    figure("failed", formatNumber(counts.failed + counts.expired)),
    counts.cancelled ? figure("cancelled", formatNumber(counts.cancelled)) : nothing,
    counts.invalid ? figure("invalid", formatNumber(counts.invalid)) : nothing,
    figure("open", formatNumber(counts.open)),
    figure("pending", formatNumber(counts.pending)),
    rate === null ? nothing : figure("rate", t("runs.rate", { rate: rounded(rate) })),
    eta === null ? nothing : figure("eta", formatDuration(eta)),
    figure("cost", costText(run)),
    figure("tokens", formatNumber(run.prompt_tokens + run.completion_tokens)),
  ];
  return html`<dl class="run-figures">${figures}</dl>`;
}

/** @param {RunData} run */
function costText({ cost, max_cost, currency }) {
  const spent = formatMoney(cost, currency);
  if (max_cost === null) return spent;
  return t("runs.cost_of", { spent, limit: formatMoney(max_cost, currency) });
}

/**
 * @param {"succeeded"|"failed"|"cancelled"|"invalid"|"open"|"pending"|"rate"|"eta"|"cost"|"tokens"} name
 * @param {string} value
 */
function figure(name, value) {
  return html`
    <div class="figure ${name}">
      <dt>${t(`runs.figure.${name}`)}</dt>
      <dd>${value}</dd>
    </div>
  `;
}

/** @param {number} rate */
function rounded(rate) {
  return rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10;
}
