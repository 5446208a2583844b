/** Copy, cut and paste, where the grid has the focus. */

/**
 * @typedef {object} Parts
 * @property {import("./actions.js").Actions} actions
 * @property {() => boolean} hasFocus
 * @property {() => boolean} isEmpty a grid without rows has no cell that could have the focus
 */

/** @param {Parts} parts @param {AbortSignal} signal ends it */
export function useClipboard({ actions, hasFocus, isEmpty }, signal) {
  document.addEventListener("copy", (event) => {
    if (hasFocus()) actions.copy(event);
  }, { signal });
  document.addEventListener("cut", (event) => {
    if (!hasFocus()) return;
    actions.copy(event);
    actions.clear();
  }, { signal });
  document.addEventListener("paste", (event) => {
    if (hasFocus() || (isEmpty() && !isInput(event.target))) actions.paste(event);
  }, { signal });
}

/** @param {EventTarget|null} target @returns {boolean} it takes what is pasted itself */
function isInput(target) {
  return target instanceof Element && target.closest("input, textarea, select, dialog") !== null;
}
