/** What an empty chat shows: a greeting and the scenes, as another way to begin. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { icon } from "../../ui/icons.js";

/** @import { Scene } from "../../store/types.d.ts" */

/** With more, the first of them, and the rest when it is asked for. */
const MAX_CARDS = 12;

/** @param {Scene[]} scenes */
export function welcome(scenes) {
  return html`
    <section class="welcome">
      <h2>${t("welcome.heading")}</h2>
      <p class="muted">${t("welcome.text")}</p>
      ${cards(scenes.slice(0, MAX_CARDS))}
      ${scenes.length > MAX_CARDS
        ? html`
          <details class="more-scenes">
            <summary>${t("welcome.more", { count: scenes.length - MAX_CARDS })}</summary>
            ${cards(scenes.slice(MAX_CARDS))}
          </details>
        `
        : nothing}
    </section>
  `;
}

/** @param {Scene[]} scenes */
function cards(scenes) {
  return html`<div class="scene-cards">${repeat(scenes, ({ slug }) => slug, card)}</div>`;
}

/** @param {Scene} scene */
function card({ slug, title, description }) {
  return html`
    <a class="scene-card" href=${href({ name: "scene", id: slug })}>
      ${icon("scene")}
      <span class="scene-card-title" dir="auto">${title || slug}</span>
      <span class="scene-card-text" dir="auto">${description}</span>
    </a>
  `;
}
