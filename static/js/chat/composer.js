/** The box a message is written in. Enter sends, Shift+Enter starts a line. */

import { h, icon } from "./dom.js";

const MOST_PX = 240;
const MODEL_KEY = "aily.model";

/**
 * @param {object} options
 * @param {{name: string, simulated: boolean}[]} options.models the default first
 * @param {(text: string) => void} options.onSend
 * @param {() => void} options.onStop
 * @returns {{element: HTMLElement, setBusy: (busy: boolean) => void, setText: (text: string) => void,
 *   model: () => string|null, focus: () => void}}
 */
export function createComposer({ models, onSend, onStop }) {
  let busy = false;
  const area = h("textarea", {
    id: "composer-text",
    rows: 1,
    placeholder: "Write a message…",
    enterkeyhint: "send",
    "aria-describedby": "composer-hint",
  });
  const button = h("button", { type: "button", class: "send-button" });
  const model = createModelSelect(models);
  const hint = h(
    "span",
    { id: "composer-hint", class: "composer-hint" },
    "Enter sends · Shift+Enter starts a new line",
  );
  const element = h(
    "form",
    { class: "composer" },
    h("label", { class: "visually-hidden", for: "composer-text" }, "Message"),
    h(
      "div",
      { class: "composer-box" },
      area,
      h("div", { class: "composer-bar" }, model, hint, button),
    ),
  );

  const fit = () => {
    area.style.height = "auto";
    // Zero until the box is on the page, where a single row is right.
    if (area.scrollHeight) area.style.height = `${Math.min(area.scrollHeight, MOST_PX)}px`;
    button.disabled = !busy && area.value.trim() === "";
  };
  const send = () => {
    const text = area.value.trim();
    if (busy || !text) return;
    setText("");
    onSend(text);
  };
  const setText = (text) => {
    area.value = text;
    fit();
  };
  const setBusy = (next) => {
    busy = next;
    const label = busy ? "Stop the answer" : "Send";
    button.setAttribute("aria-label", label);
    button.title = label;
    button.classList.toggle("stop", busy);
    button.replaceChildren(icon(busy ? "stop" : "send"));
    fit();
  };

  area.addEventListener("input", fit);
  area.addEventListener("keydown", (event) => {
    // While an input method composes, Enter picks a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  button.addEventListener("click", () => (busy ? onStop() : send()));
  element.addEventListener("submit", (event) => event.preventDefault());
  setBusy(false);
  const chosen = () => model.value || null;
  return { element, setBusy, setText, model: chosen, focus: () => area.focus() };
}

function createModelSelect(models) {
  const options = models.map(({ name, simulated }) =>
    h("option", { value: name }, simulated ? `${name} (simulated)` : name),
  );
  const select = h(
    "select",
    { class: "model-select", "aria-label": "Model", hidden: models.length === 0 },
    ...options,
  );
  const remembered = localStorage.getItem(MODEL_KEY);
  if (models.some(({ name }) => name === remembered)) select.value = remembered;
  select.addEventListener("change", () => localStorage.setItem(MODEL_KEY, select.value));
  return select;
}
