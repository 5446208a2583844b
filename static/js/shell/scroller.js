/** Keeps the end of a growing answer in sight, unless the reader has gone up to read. */

import { t } from "../i18n/i18n.js";
import { render } from "../lit.js";
import { icon } from "../ui/icons.js";

/** So near to the end, the reader is taken to follow. */
const NEAR_PX = 40;

/** How a reader scrolls by hand. */
const READER_EVENTS = ["wheel", "touchstart", "pointerdown", "keydown"];

/** @typedef {{key: string, offset: number}} Place an item of the page, and how far below the top */

/** One page's way of scrolling in the element that all pages share. */
export class Scroller {
  #element;
  #button;
  #isFollowing = false;
  /** Something is added at its end, so the way to there is of use. */
  #isGrowing = false;
  #lastTop = 0;
  #lastHeight = 0;
  #onScroll = () => this.#noticeReader();
  /** @type {Place|null} where the reader was, until the next scrolling by hand */
  #wanted = null;
  /** Another page is shown in the element now. */
  #isDisposed = false;
  #onReader = () => (this.#wanted = null);
  /** What is drawn late (colours, formulas, blocks that come into sight) changes the height, too. */
  #heights = new ResizeObserver(() => {
    if (this.#wanted) this.#goToWanted();
    else if (this.#isGrowing) this.follow();
  });

  /** @param {HTMLElement} element what scrolls @param {HTMLElement} button leads to the end */
  constructor(element, button) {
    this.#element = element;
    this.#button = button;
    button.hidden = true;
    button.onclick = () => this.toEnd();
    element.scrollTop = 0;
    element.addEventListener("scroll", this.#onScroll, { passive: true });
    for (const name of READER_EVENTS) {
      element.addEventListener(name, this.#onReader, { passive: true });
    }
    if (element.firstElementChild) this.#heights.observe(element.firstElementChild);
  }

  /** Show the end of the page, and from now on what is added to it. */
  toEnd() {
    if (this.#isDisposed) return;
    this.#wanted = null;
    this.#isGrowing = true;
    this.#isFollowing = true;
    this.#goToEnd();
  }

  /** Something was added: show it, if the reader was at the end. */
  follow() {
    if (this.#isDisposed) return;
    this.#isGrowing = true;
    this.#noticeReader();
    if (this.#isFollowing) this.#goToEnd();
  }

  /**
   * Keep what the reader sees in its place while something is added above it.
   *
   * @param {() => void} change adds it
   */
  keepPlace(change) {
    const below = this.#element.scrollHeight - this.#element.scrollTop;
    change();
    this.#element.scrollTop = this.#element.scrollHeight - below;
    this.#remember();
  }

  /** @returns {Place|null} null: at the end, wherever that will be */
  get place() {
    this.#noticeReader();
    if (this.#isFollowing) return null;
    for (const item of this.#items()) {
      const { top, bottom } = item.getBoundingClientRect();
      const offset = top - this.#element.getBoundingClientRect().top;
      if (bottom - top + offset > 0) return { key: item.dataset.key ?? "", offset };
    }
    return { key: "", offset: -this.#element.scrollTop };
  }

  /** Show a place again, and keep it while heights above it become known. @param {Place} place */
  restore(place) {
    this.#isFollowing = false;
    this.#wanted = place;
    this.#goToWanted();
  }

  #goToWanted() {
    if (!this.#wanted) return;
    const { key, offset } = this.#wanted;
    const item = [...this.#items()].find(({ dataset }) => dataset.key === key);
    const top = item
      ? item.getBoundingClientRect().top - this.#element.getBoundingClientRect().top
      : -this.#element.scrollTop;
    this.#element.scrollTop += top - offset;
    this.#remember();
  }

  /** @returns {NodeListOf<HTMLElement>} what places are remembered by */
  #items() {
    return this.#element.querySelectorAll("[data-key]");
  }

  dispose() {
    this.#isDisposed = true;
    this.#element.removeEventListener("scroll", this.#onScroll);
    for (const name of READER_EVENTS) this.#element.removeEventListener(name, this.#onReader);
    this.#heights.disconnect();
    this.#button.hidden = true;
  }

  #goToEnd() {
    this.#element.scrollTop = this.#element.scrollHeight;
    this.#button.hidden = true;
    this.#remember();
  }

  /**
   * Only the reader moves up, except where the text or its window changes its height and the end
   * stays in sight. So one step up is enough to stay there, however fast text comes.
   */
  #noticeReader() {
    const { scrollTop, scrollHeight } = this.#element;
    const isShorter = scrollHeight < this.#lastHeight;
    const isUp = scrollTop < this.#lastTop - 1 && !isShorter && this.#distance() > 1;
    if (isUp) this.#isFollowing = false;
    else if (scrollTop > this.#lastTop && this.#distance() < NEAR_PX) this.#isFollowing = true;
    this.#button.hidden = !this.#isGrowing || this.#isFollowing || this.#distance() < NEAR_PX;
    this.#remember();
  }

  #remember() {
    this.#lastTop = this.#element.scrollTop;
    this.#lastHeight = this.#element.scrollHeight;
  }

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#element;
    return scrollHeight - scrollTop - clientHeight;
  }
}

/** @param {HTMLElement} element what scrolls @returns {HTMLElement} */
export function createEndButton(element) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "jump";
  button.hidden = true;
  button.title = t("scroller.to_end");
  button.setAttribute("aria-label", t("scroller.to_end"));
  render(icon("down"), button);
  element.after(button);
  return button;
}
