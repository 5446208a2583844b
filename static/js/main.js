/** Puts the app together: connection, store, lists, and the page that the address asks for. */

import { t } from "./i18n/i18n.js";
import { api, goToLogin, request } from "./net/api.js";
import { Runs } from "./client/runs.js";
import { Socket } from "./client/socket.js";
import { Router } from "./shell/router.js";
import { href, parseRoute } from "./shell/routes.js";
import { createEndButton } from "./shell/scroller.js";
import { createSidebar } from "./shell/sidebar.js";
import { Drafts } from "./store/drafts.js";
import { Store } from "./store/store.js";
import { Tasks } from "./client/tasks.js";
import { byId, setText } from "./ui/dom.js";
import { errorText } from "./ui/notice.js";

/** @import { PageData } from "./store/types.d.ts" */

const TOAST_MS = 7000;

/** @type {PageData} */
const data = JSON.parse(byId("page-data").textContent ?? "");
const address = new URL("/ws/llmchat/", location.href);
address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const socket = new Socket(address.href);
const store = new Store(new Tasks(socket, request, data.frame_max_bytes), socket);
const shared = {
  store,
  runs: new Runs(api, socket),
  runMaxFileBytes: data.run_max_file_bytes,
  drafts: new Drafts(data.user_id),
  socket,
  tableAssets: data.table_assets,
  username: data.username,
  models: data.models,
  mayEdit: (/** @type {string} */ slug) => data.edited_scenes?.includes(slug) ?? true,
  mayPublish: (/** @type {string} */ slug) => data.published_scenes?.includes(slug) ?? true,
  simulatedModels: new Set(data.simulated_models),
  /** @param {string} text */
  announce: (text) => setText(byId("announcer"), text),
};
const markInSidebar = createSidebar(store, {
  mayEdit: shared.mayEdit,
  onRemoved: (id) => {
    if (router.address === href({ name: "chat", id })) location.hash = "#/";
  },
  onError: showToast,
});
const router = new Router(shared, createEndButton(byId("scroller")), markInSidebar);

let toastTimer = 0;

/** Above the page, which stays as it is. @param {Error} error */
function showToast(error) {
  const toast = byId("toast");
  setText(toast, errorText(error));
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), TOAST_MS);
}

function showConnection() {
  const indicator = byId("connection");
  indicator.dataset.state = socket.state;
  setText(indicator, t(`connection.${socket.state}`));
}

async function start() {
  socket.addEventListener("state", showConnection);
  socket.addEventListener("unauthenticated", goToLogin);
  socket.connect();
  byId("skip").addEventListener("click", () => byId("content").focus());
  try {
    await store.load();
  } catch (error) {
    router.showFailure(error);
    return;
  }
  store.addEventListener("change", () => router.showTitle());
  store.addEventListener("refreshed", () => router.page?.refresh().catch(showToast));
  await router.open(parseRoute(location.hash));
}

start();
