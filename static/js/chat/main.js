/** Puts the page together: connection, lists, and the page that the address asks for. */

import { goToLogin } from "./api.js";
import { ChatPage } from "./chat.js";
import { setText } from "./dom.js";
import { createNotice, explain } from "./errors.js";
import { Library } from "./library.js";
import { href, parseRoute } from "./route.js";
import { ScenePage } from "./scene.js";
import { createScroller } from "./scroller.js";
import { createSidebar } from "./sidebar.js";
import { Socket } from "./socket.js";
import { Tasks } from "./tasks.js";

const TOAST_MS = 7000;
const byId = (id) => document.getElementById(id);
const { models, simulated_models, frame_max_bytes } = JSON.parse(byId("page-data").textContent);
const socket = new Socket("/ws/llmchat/");
const library = new Library();
const tasks = new Tasks(socket, frame_max_bytes);
const scroller = createScroller(byId("scroller"));
const markInSidebar = createSidebar(library, {
  onRemoved: (id) => {
    if (page instanceof ChatPage && page.id === id) location.hash = "#/";
  },
  onError: showToast,
});
/** What the pages share. */
const app = {
  models,
  simulatedModels: new Set(simulated_models),
  library,
  tasks,
  scroller,
  /** What a scene was run with last, by its slug: to be changed and run again. */
  lastVariables: new Map(),
  announce: (text) => setText(byId("announcer"), text),
  moved: (route) => {
    history.replaceState(null, "", href(route));
    markInSidebar(route);
    showTitle();
  },
};
let page = null;

function createPage(route) {
  if (route.name === "chat") return new ChatPage(app, route.id);
  const scene = library.scene(route.id);
  if (!scene) throw Object.assign(new Error("There is no such scene."), { code: "not_found" });
  return new ScenePage(app, scene);
}

async function open(route) {
  page?.dispose();
  page = null;
  markInSidebar(route);
  try {
    page = createPage(route);
  } catch (error) {
    showFailure(error);
    return;
  }
  const opened = page;
  byId("content").replaceChildren(page.element);
  byId("dock").replaceChildren(...(page.dock ? [page.dock] : []));
  showTitle();
  // With fingers, the keyboard should come when it is asked for.
  if (matchMedia("(hover: hover)").matches) page.focus();
  else byId("title").focus();
  // By the time it is loaded, the user may have gone on to another page.
  const stillOpen = (action) => (result) => page === opened && action(result);
  await page.load().then(stillOpen(scroller.toEnd), stillOpen(showFailure));
}

function showTitle() {
  if (!page) return;
  setText(byId("title"), page.title);
  document.title = `${page.title} · aily`;
}

/** In place of the page, which cannot be shown. */
function showFailure(error) {
  byId("dock").replaceChildren();
  byId("content").replaceChildren(createNotice(error));
}

let toastTimer = 0;

/** Above the page, which stays as it is. */
function showToast(error) {
  const { title, help } = explain(error);
  const toast = byId("toast");
  setText(toast, `${title}. ${help}`);
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (toast.hidden = true), TOAST_MS);
}

const CONNECTION = {
  connecting: "Connecting…",
  open: "Connected",
  waiting: "Reconnecting…",
  closed: "Logged out",
};

function showConnection() {
  const indicator = byId("connection");
  indicator.dataset.state = socket.state;
  setText(indicator, CONNECTION[socket.state]);
}

let othersActed = false;

/** What happened in another tab, or while the connection was away, is read anew. */
function followOthers() {
  othersActed = true;
  library.refreshSoon();
}

async function refreshPage() {
  if (!othersActed) return;
  othersActed = false;
  await page?.refresh().catch(showToast);
}

async function start() {
  socket.addEventListener("state", showConnection);
  socket.addEventListener("unauthenticated", goToLogin);
  socket.connect();
  tasks.addEventListener("foreign", followOthers);
  socket.addEventListener("reopen", followOthers);
  window.addEventListener("hashchange", () => open(parseRoute(location.hash)));
  byId("skip").addEventListener("click", () => byId("content").focus());
  try {
    await library.load();
  } catch (error) {
    showFailure(error);
    return;
  }
  library.addEventListener("change", showTitle);
  library.addEventListener("refreshed", refreshPage);
  await open(parseRoute(location.hash));
}

start();
