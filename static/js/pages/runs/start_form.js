/** When a run starts: now, in the cheapest hours, or at a time. */

import { fromInput } from "../../forms/moments.js";
import { formatDateTime, t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";

/**
 * @import { Estimate } from "../../client/types.d.ts"
 * @typedef {"now"|"off_peak"|"at"} When
 */

export class StartForm {
  /** @type {When} */
  #when = "now";
  /** Of the input of a time. */
  #at = "";
  #error = "";
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** @returns {{start: When, start_at: string|null}|null} null: the time is missing, which it says */
  read() {
    const isAt = this.#when === "at";
    if (isAt && !this.#at) {
      this.refuse(t("form.no_date_time"));
      return null;
    }
    return { start: this.#when, start_at: isAt ? fromInput("date-time", this.#at) : null };
  }

  /** @param {string} message why the time is not taken */
  refuse(message) {
    this.#error = message;
    this.#onChange();
  }

  /** @param {Estimate|null} estimate */
  template(estimate) {
    const isCheap = estimate !== null && Date.parse(estimate.off_peak_at) <= Date.now();
    const offPeak = estimate === null || isCheap
      ? t("runs.start_off_peak")
      : t("runs.start_off_peak_at", { time: formatDateTime(estimate.off_peak_at) });
    return html`
      <fieldset class="field choices">
        <legend>${t("runs.start_when")}</legend>
        ${this.#choice("now", t("runs.start_now"))} ${this.#choice("off_peak", offPeak)}
        ${this.#choice("at", t("runs.start_at"))}
      </fieldset>
      ${this.#when === "at" ? this.#timeField() : nothing}
    `;
  }

  /** @param {When} when @param {string} label */
  #choice(when, label) {
    const choose = () => {
      this.#when = when;
      this.refuse("");
    };
    return html`
      <label>
        <input type="radio" name="run-start" value=${when} .checked=${when === this.#when}
          @change=${choose}>
        <span>${label}</span>
      </label>
    `;
  }

  #timeField() {
    const write = (/** @type {any} */ { target }) => {
      this.#at = target.value;
      this.refuse("");
    };
    return html`
      <div class="field">
        <label for="run-start-at">${t("runs.start_time")}</label>
        <input id="run-start-at" type="datetime-local" .value=${this.#at}
          aria-invalid=${String(this.#error !== "")} aria-describedby="run-start-at-error"
          @input=${write}>
        <p class="field-error" id="run-start-at-error">${this.#error}</p>
      </div>
    `;
  }
}
