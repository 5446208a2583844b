/** What a workshop's editor chooses: a version, one of two texts, to try or to stop. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { differences } from "./editor.js";

/** @import { Texts, Version } from "./draft.js" */

/**
 * @param {{current: Version|null, list: Version[]}} versions
 * @param {{isDisabled: boolean, onOpen: (number: number) => unknown}} options
 */
export function choiceTemplate({ current, list }, { isDisabled, onOpen }) {
  const open = (/** @type {any} */ { target }) => onOpen(Number(target.value));
  return html`
    <div class="field">
      <label for="workshop-version">${t("workshop.version")}</label>
      <select id="workshop-version" @change=${open} ?disabled=${isDisabled || !list.length}>
        ${list.map((version) =>
          html`<option value=${version.number} .selected=${version.number === current?.number}>
        ${labelOf(version)}</option>`
        )}
      </select>
    </div>
  `;
}

/** @param {Version} version */
function labelOf({ number, is_live, published_at }) {
  if (is_live) return t("workshop.version_live", { number });
  return t(published_at ? "workshop.version_old" : "workshop.version_draft", { number });
}

/**
 * Another editor was first: what differs, and which of the two texts is to stay.
 *
 * @param {{theirs: Version, texts: Texts, onTake: () => unknown, onKeep: () => unknown}} options
 */
export function conflictTemplate({ theirs, texts, onTake, onKeep }) {
  return html`
    <section class="conflict" role="alert">
      <strong>${t("workshop.conflict")}</strong>
      <p>${t("workshop.conflict_help")}</p>
      ${differences(theirs, texts)}
      <div class="form-actions">
        <button type="button" class="button small" @click=${onTake}>${t("workshop.theirs")}</button>
        <button type="button" class="button small" @click=${onKeep}>${t("workshop.mine")}</button>
      </div>
    </section>
  `;
}

/**
 * @param {{
 *   isDraft: boolean, isBusy: boolean, isRunning: boolean,
 *   onTry: () => unknown, onStop: () => unknown,
 * }} options
 */
export function tryTemplate({ isDraft, isBusy, isRunning, onTry, onStop }) {
  const stop = html`
    <button type="button" class="button" @click=${onStop}>
      ${icon("stop")}<span>${t("composer.stop")}</span>
    </button>
  `;
  return html`
    <div class="form-actions">
      <button type="button" class="button primary" ?disabled=${isBusy || isRunning} @click=${onTry}>
        ${icon("send")}<span>${t(isDraft ? "workshop.try" : "workshop.try_version")}</span>
      </button>
      ${isRunning ? stop : nothing}
    </div>
  `;
}
