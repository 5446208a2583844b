/** The page of what each user chooses: language and appearance. */

import { language, LANGUAGES, t } from "../../i18n/i18n.js";
import { html, render } from "../../lit.js";
import { find } from "../../ui/dom.js";
import { chooseLanguage, chooseTheme, chosenLanguage, chosenTheme } from "../../ui/settings.js";

/**
 * @import { Page } from "../../shell/types.d.ts"
 * @import { Theme } from "../../ui/settings.js"
 */

/** @type {Theme[]} */
const THEMES = ["system", "light", "dark"];

/** @returns {Page} */
export default function createPage() {
  const element = document.createElement("section");
  element.className = "settings";
  render(html`${languageField()} ${themeField()}`, element);
  return {
    title: t("settings.title"),
    element,
    dock: null,
    opensAt: "start",
    focus: () => find(element, "select").focus(),
    load: () => Promise.resolve(),
    refresh: () => Promise.resolve(),
    dispose: () => {},
  };
}

function languageField() {
  const chosen = chosenLanguage() ? language : "";
  /** @param {Event} event */
  const change = (event) => {
    chooseLanguage(/** @type {HTMLSelectElement} */ (event.target).value);
  };
  return html`
    <div class="field">
      <label for="settings-language">${t("settings.language")}</label>
      <select id="settings-language" @change=${change}
        aria-describedby="settings-language-help">
        <option value="" ?selected=${chosen === ""}>${t("settings.language_browser")}</option>
        ${Object.entries(LANGUAGES).map(([code, name]) =>
          html`<option value=${code} lang=${code} ?selected=${chosen === code}>${name}</option>`
        )}
      </select>
      <p class="field-help" id="settings-language-help">${t("settings.language_help")}</p>
    </div>
  `;
}

function themeField() {
  const chosen = chosenTheme();
  return html`
    <fieldset class="field choices">
      <legend>${t("settings.theme")}</legend>
      ${THEMES.map((theme) =>
        html`
          <label>
            <input type="radio" name="theme" value=${theme} ?checked=${theme === chosen}
              @change=${() => chooseTheme(theme)}>
            ${t(`settings.theme_${theme}`)}
          </label>
        `
      )}
    </fieldset>
  `;
}
