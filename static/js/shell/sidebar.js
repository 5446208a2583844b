/** The lists of scenes and conversations, and on a phone the drawer that holds them. */

import { formatDateTime, formatNumber, t } from "../i18n/i18n.js";
import { html, nothing, render, repeat } from "../lit.js";
import { byId } from "../ui/dom.js";
import { icon } from "../ui/icons.js";
import { askName, confirmRemoval } from "./dialogs.js";
import { href } from "./routes.js";

/**
 * @import { Store } from "../store/store.js"
 * @import { Conversation, Scene } from "../store/types.d.ts"
 * @import { Route } from "./types.d.ts"
 */

/** With more scenes, conversations would be out of sight below them. */
const MAX_SCENES = 15;

/**
 * @param {Store} store
 * @param {object} options
 * @param {(id: string) => void} options.onRemoved
 * @param {(error: Error) => void} options.onError
 * @param {(slug: string) => boolean} options.mayEdit
 * @returns {(route: Route) => void} call it to mark where the page is
 */
export function createSidebar(store, { onRemoved, onError, mayEdit }) {
  const { conversations } = store;
  let current = "";
  let hasAllScenes = false;

  /** @param {Conversation} conversation */
  const remove = async ({ id, title }) => {
    if (!(await confirmRemoval(title))) return;
    await conversations.delete(id);
    onRemoved(id);
  };
  /** @param {Conversation} conversation */
  const rename = async ({ id, title }) => {
    const wanted = await askName(title);
    if (wanted) await conversations.rename(id, wanted);
  };
  /** @param {string} address @param {string} title @param {string} hint */
  const link = (address, title, hint) => {
    const mark = address === current ? "page" : nothing;
    return html`<a href=${address} title=${hint} aria-current=${mark} dir="auto">${title}</a>`;
  };
  /** @param {Conversation} chat */
  const conversationLink = ({ id, title, updated_at }) => {
    const shown = title || t("sidebar.untitled");
    const hint = t("sidebar.hint", { title: shown, time: formatDateTime(updated_at) });
    return link(href({ name: "chat", id }), shown, hint);
  };
  /** @param {Conversation} chat */
  const conversationRow = (chat) =>
    html`
      <li class="nav-item">
        ${conversationLink(chat)} ${markTemplate(conversations.markOf(chat))}
        ${rowButton("pencil", t("sidebar.rename"), () => rename(chat).catch(onError))}
        ${rowButton("trash", t("sidebar.delete"), () => remove(chat).catch(onError))}
      </li>
    `;
  /** @param {Scene} scene */
  const sceneRow = ({ slug, title }) =>
    html`
      <li class="nav-item">${link(
        href({ name: store.scene(slug) ? "scene" : "workshop", id: slug }),
        title || slug,
        title || slug,
      )}</li>
    `;
  /** The first ones, and the one that is open. @param {Scene} scene @param {number} index */
  const isShown = ({ slug }, index) =>
    index < MAX_SCENES ||
    [href({ name: "scene", id: slug }), href({ name: "workshop", id: slug })].includes(current);
  const show = () => {
    const scenes = store.scenesFor(mayEdit);
    const shown = hasAllScenes ? scenes : scenes.filter(isShown);
    render(repeat(shown, ({ slug }) => slug, sceneRow), byId("scenes"));
    byId("scenes-more").hidden = shown.length === scenes.length;
    render(repeat(conversations.items, ({ id }) => id, conversationRow), byId("conversations"));
    byId("conversations-empty").hidden = conversations.items.length > 0;
    byId("conversations-more").hidden = !conversations.hasMore;
  };

  store.addEventListener("change", show);
  store.waiting.addEventListener("change", () => showWaiting(store.waiting.count));
  byId("scenes-more").onclick = () => {
    hasAllScenes = true;
    show();
  };
  byId("conversations-more").onclick = () => conversations.loadMore().catch(onError);
  const close = createDrawer();
  return (route) => {
    current = href(route);
    conversations.look(route.name === "chat" ? route.id ?? "" : "");
    show();
    for (const name of ["runs", "tables", "waiting", "settings"]) {
      const mark = route.name === name ? "page" : "false";
      byId(`${name}-link`).setAttribute("aria-current", mark);
    }
    close();
  };
}

/** On a phone the button of the drawer says it, too. @param {number} count of tasks */
function showWaiting(count) {
  const link = byId("waiting-link");
  // What is open stays to be left.
  link.hidden = count === 0 && link.getAttribute("aria-current") !== "page";
  const badge = byId("waiting-count");
  badge.textContent = formatNumber(count);
  badge.hidden = count === 0;
  byId("sidebar-open").classList.toggle("marked", count > 0);
}

/** @param {"answering"|"unread"|null} mark */
function markTemplate(mark) {
  if (!mark) return nothing;
  const label = t(`sidebar.${mark}`);
  return html`<span class="nav-mark ${mark}" role="img" aria-label=${label} title=${label}></span>`;
}

/** @param {"pencil"|"trash"} name @param {string} label @param {() => void} onClick */
function rowButton(name, label, onClick) {
  return html`
    <button type="button" class="icon-button" aria-label=${label} title=${label}
      @click=${onClick}>${icon(name)}</button>
  `;
}

/** @returns {() => void} closes it */
function createDrawer() {
  const opener = byId("sidebar-open");
  /** @param {boolean} isOpen */
  const set = (isOpen) => {
    document.body.classList.toggle("sidebar-shown", isOpen);
    opener.setAttribute("aria-expanded", String(isOpen));
    byId("stage").inert = isOpen;
    if (isOpen) byId("sidebar-close").focus();
  };
  const close = () => {
    if (!document.body.classList.contains("sidebar-shown")) return;
    set(false);
    opener.focus();
  };
  opener.addEventListener("click", () => set(true));
  byId("sidebar-close").addEventListener("click", close);
  byId("scrim").addEventListener("click", close);
  document.addEventListener("keydown", (event) => event.key === "Escape" && close());
  return close;
}
