/** The list of scenes and conversations, and on a phone the drawer that holds it. */

import { askName, confirmRemoval } from "./dialogs.js";
import { h, icon, reconcile, setText } from "./dom.js";
import { href } from "./route.js";

const byId = (id) => document.getElementById(id);

/**
 * @param {import("./library.js").Library} library
 * @param {{onRemoved: (id: string) => void, onError: (error: Error) => void}} callbacks
 * @returns {(route: import("./route.js").Route) => void} call it to mark where the page is
 */
export function createSidebar(library, { onRemoved, onError }) {
  let current = null;
  const guard = (action) => () => action().catch(onError);

  const remove = async (conversation) => {
    if (!(await confirmRemoval(conversation.title))) return;
    await library.remove(conversation.id);
    onRemoved(conversation.id);
  };
  const rename = async (conversation) => {
    const title = await askName(conversation.title);
    if (title) await library.rename(conversation.id, title);
  };
  const conversationRow = ({ id }) => {
    const find = () => library.conversation(id);
    return h(
      "li",
      { class: "nav-item" },
      h("a", { href: href({ name: "chat", id }) }),
      rowButton(
        "pencil",
        "Rename",
        guard(() => rename(find())),
      ),
      rowButton(
        "trash",
        "Delete",
        guard(() => remove(find())),
      ),
    );
  };
  const sceneRow = ({ slug }) =>
    h("li", { class: "nav-item" }, h("a", { href: href({ name: "scene", id: slug }) }));

  const render = () => {
    const mark = (item, address, title) => {
      const link = item.firstElementChild;
      setText(link, title);
      link.title = title;
      if (address === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    };
    reconcile(
      byId("scenes"),
      library.scenes,
      (scene) => scene.slug,
      sceneRow,
      (item, scene) =>
        mark(item, href({ name: "scene", id: scene.slug }), scene.title || scene.slug),
    );
    reconcile(
      byId("conversations"),
      library.conversations,
      ({ id }) => id,
      conversationRow,
      (item, chat) => mark(item, href({ name: "chat", id: chat.id }), chat.title || "Untitled"),
    );
    byId("conversations-empty").hidden = library.conversations.length > 0;
    byId("conversations-more").hidden = !library.hasMore;
  };

  library.addEventListener("change", render);
  byId("conversations-more").addEventListener(
    "click",
    guard(() => library.showMore()),
  );
  const close = createDrawer();
  return (route) => {
    current = href(route);
    render();
    close();
  };
}

function rowButton(name, label, onclick) {
  return h(
    "button",
    { type: "button", class: "icon-button", "aria-label": label, title: label, onclick },
    icon(name),
  );
}

/** @returns {() => void} closes it */
function createDrawer() {
  const opener = byId("sidebar-open");
  const set = (open) => {
    document.body.classList.toggle("sidebar-shown", open);
    opener.setAttribute("aria-expanded", String(open));
    byId("stage").inert = open;
    if (open) byId("sidebar-close").focus();
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
