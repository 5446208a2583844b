/** Opens the page that the address asks for, and ends the one before. */

import { t } from "../i18n/i18n.js";
import { render } from "../lit.js";
import { PAGES } from "./pages.js";
import { Scroller } from "./scroller.js";
import { closeDialogs } from "../ui/dialogs.js";
import { byId, setText } from "../ui/dom.js";
import { notice } from "../ui/notice.js";
import { href, parseRoute } from "./routes.js";

/**
 * @import { Place } from "./scroller.js"
 * @import { App, Page, PageModule, Route } from "./types.d.ts"
 * @typedef {Omit<App, "scroller"|"moved"|"showTitle">} Shared what all pages share
 */

/** So many pages' places are remembered. */
const MAX_PLACES = 50;

export class Router {
  /** @type {Page|null} */
  #page = null;
  /** @type {Scroller|null} */
  #scroller = null;
  /** The opening that goes on, or was the last. */
  #opening = {};
  #shared;
  #endButton;
  #onOpened;
  #address = "";
  /** @type {Map<string, Place|null>} where each page was left, by address */
  #places = new Map();

  /**
   * @param {Shared} shared
   * @param {HTMLElement} endButton
   * @param {(route: Route) => void} onOpened
   */
  constructor(shared, endButton, onOpened) {
    this.#shared = shared;
    this.#endButton = endButton;
    this.#onOpened = onOpened;
    addEventListener("hashchange", () => {
      closeDialogs();
      this.open(parseRoute(location.hash));
    });
  }

  /** @returns {Page|null} */
  get page() {
    return this.#page;
  }

  get address() {
    return this.#address;
  }

  /** @param {Route} route */
  async open(route) {
    this.#leave();
    this.#address = href(route);
    this.#onOpened(route);
    const opening = {};
    this.#opening = opening;
    // By the time something is loaded, the user may have gone on to another page.
    const isCurrent = () => this.#opening === opening;
    try {
      const { default: create } = await PAGES[route.name]();
      if (!isCurrent()) return;
      const page = this.#show(create, route);
      await page.load();
      if (isCurrent()) this.#scrollTo(page);
    } catch (error) {
      if (isCurrent()) this.showFailure(error);
    }
  }

  #leave() {
    if (this.#page && this.#scroller) this.#rememberPlace(this.#scroller.place);
    this.#page?.dispose();
    this.#scroller?.dispose();
    this.#page = null;
    this.#scroller = null;
  }

  /** @param {Place|null} place */
  #rememberPlace(place) {
    this.#places.delete(this.#address);
    this.#places.set(this.#address, place);
    if (this.#places.size > MAX_PLACES) {
      this.#places.delete(this.#places.keys().next().value ?? "");
    }
  }

  /** @param {PageModule["default"]} create @param {Route} route */
  #show(create, route) {
    const scroller = new Scroller(byId("scroller"), this.#endButton);
    this.#scroller = scroller;
    const showTitle = () => this.showTitle();
    const app = { ...this.#shared, scroller, moved: this.#moved, showTitle };
    const page = create(app, route.id);
    this.#page = page;
    byId("content").replaceChildren(page.element);
    byId("dock").replaceChildren(...(page.dock ? [page.dock] : []));
    this.showTitle();
    // With fingers, the keyboard should come when it is asked for.
    if (matchMedia("(hover: hover)").matches) page.focus();
    else byId("title").focus();
    return page;
  }

  /** @param {Page} page */
  #scrollTo(page) {
    const place = this.#places.get(this.#address);
    if (place) this.#scroller?.restore(place);
    else if (page.opensAt === "end") this.#scroller?.toEnd();
  }

  /** @param {Route} route */
  #moved = (route) => {
    this.#address = href(route);
    history.replaceState(null, "", this.#address);
    this.#onOpened(route);
    this.showTitle();
  };

  showTitle() {
    if (!this.#page) return;
    setText(byId("title"), this.#page.title);
    const title = t("app.title", { title: this.#page.title });
    const { count } = this.#shared.store.waiting;
    document.title = count ? t("app.title_waiting", { title, count }) : title;
  }

  /** In place of the page, which cannot be shown. @param {any} error */
  showFailure(error) {
    console.warn(error);
    this.#page?.dispose();
    this.#page = null;
    byId("dock").replaceChildren();
    const content = document.createElement("div");
    byId("content").replaceChildren(content);
    render(notice(error), content);
  }
}
