/** What an empty chat shows: a greeting and the scenes, as another way to begin. */

import { h, icon, reconcile } from "./dom.js";
import { href } from "./route.js";

/** @param {import("./library.js").Library} library */
export function createWelcome(library) {
  const cards = h("div", { class: "scene-cards" });
  const element = h(
    "section",
    { class: "welcome" },
    h("h2", {}, "What can I do for you?"),
    h("p", { class: "muted" }, "Write a message below, or start from a scene."),
    cards,
  );
  const render = () => reconcile(cards, library.scenes, (scene) => scene.slug, createCard);
  library.addEventListener("change", render);
  render();
  return { element, dispose: () => library.removeEventListener("change", render) };
}

function createCard({ slug, title, description }) {
  return h(
    "a",
    { class: "scene-card", href: href({ name: "scene", id: slug }) },
    icon("scene"),
    h("span", { class: "scene-card-title" }, title || slug),
    h("span", { class: "scene-card-text" }, description),
  );
}
