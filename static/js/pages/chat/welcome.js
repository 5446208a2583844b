/** What an empty chat shows: a greeting and the scenes, as another way to begin. */

import { t } from "../../i18n/i18n.js";
import { html, repeat } from "../../lit.js";
import { href } from "../../shell/routes.js";
import { icon } from "../../ui/icons.js";

/** @import { Scene } from "../../store/types.d.ts" */

/** @param {Scene[]} scenes */
export function welcome(scenes) {
  return html`
    <section class="welcome">
      <h2>${t("welcome.heading")}</h2>
      <p class="muted">${t("welcome.text")}</p>
      <div class="scene-cards">${repeat(scenes, ({ slug }) => slug, card)}</div>
    </section>
  `;
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
