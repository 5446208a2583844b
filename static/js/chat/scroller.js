/** Keeps the end of a growing answer in sight, unless the reader went up to read. */

import { h, icon } from "./dom.js";

const NEAR_PX = 80;

/**
 * @param {HTMLElement} element what scrolls
 * @returns {{follow: () => void, toEnd: () => void}} `follow`: to the end, if it was in sight
 */
export function createScroller(element) {
  let atEnd = true;
  const button = h("button", {
    type: "button",
    class: "jump",
    "aria-label": "To the newest",
    title: "To the newest",
    hidden: true,
  });
  button.append(icon("down"));
  element.after(button);
  const isNear = () => element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PX;
  const toEnd = () => {
    atEnd = true;
    element.scrollTop = element.scrollHeight;
    button.hidden = true;
  };
  const follow = () => {
    if (atEnd) toEnd();
    else button.hidden = isNear();
  };
  element.addEventListener(
    "scroll",
    () => {
      atEnd = isNear();
      button.hidden = atEnd;
    },
    { passive: true },
  );
  button.addEventListener("click", toEnd);
  return { follow, toEnd };
}
