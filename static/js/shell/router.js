/** Opens the page that the address asks for, and ends the one before. */

import { t } from "../i18n/i18n.js";
import { render } from "../lit.js";
import { Scroller } from "./scroller.js";
import { byId, setText } from "../ui/dom.js";
import { notice } from "../ui/notice.js";
import { href, parseRoute, ROUTES } from "./routes.js";

/**
 * @import { App, Page, Route } from "./types.d.ts"
 * @typedef {Omit<App, "scroller"|"moved">} Shared what all pages share
 */

/** So many pages' places are remembered. */
const MAX_PLACES = 50;

export class Router {
  /** @type {Page|null} */
  #page = null;
  /** @type {Scroller|null} */
  #scroller = null;
  #shared;
  #endButton;
  #onOpened;
  #address = "";
  /** @type {Map<string, number|null>} where each page was left, by address */
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
    addEventListener("hashchange", () => this.open(parseRoute(location.hash)));
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
    const scroller = new Scroller(byId("scroller"), this.#endButton);
    this.#scroller = scroller;
    // By the time something is loaded, the user may have gone on to another page.
    const isOpen = () => this.#scroller === scroller;
    try {
      const { default: create } = await ROUTES[route.name].load();
      if (!isOpen()) return;
      const page = create({ ...this.#shared, scroller, moved: this.#moved }, route.id);
      this.#show(page);
      await page.load();
      if (isOpen()) this.#scrollTo(page, scroller);
    } catch (error) {
      if (isOpen()) this.showFailure(error);
    }
  }

  #leave() {
    if (this.#page && this.#scroller) this.#rememberPlace(this.#scroller.place);
    this.#page?.dispose();
    this.#scroller?.dispose();
    this.#page = null;
  }

  /** @param {number|null} place */
  #rememberPlace(place) {
    this.#places.delete(this.#address);
    this.#places.set(this.#address, place);
    if (this.#places.size > MAX_PLACES) {
      this.#places.delete(this.#places.keys().next().value ?? "");
    }
  }

  /** @param {Page} page */
  #show(page) {
    this.#page = page;
    byId("content").replaceChildren(page.element);
    byId("dock").replaceChildren(...(page.dock ? [page.dock] : []));
    this.showTitle();
    // With fingers, the keyboard should come when it is asked for.
    if (matchMedia("(hover: hover)").matches) page.focus();
    else byId("title").focus();
  }

  /** @param {Page} page @param {Scroller} scroller */
  #scrollTo(page, scroller) {
    const place = this.#places.get(this.#address);
    if (typeof place === "number") scroller.restore(place);
    else if (page.opensAt === "end") scroller.toEnd();
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
    document.title = t("app.title", { title: this.#page.title });
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
