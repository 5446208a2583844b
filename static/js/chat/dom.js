/** Building and updating elements without a framework. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] `class`, `on*` listeners, `data-*`/`aria-*` and other
 *   attributes; null and false are left out, true is an empty attribute
 * @param {...(Node|string|null|false)} children
 * @returns {HTMLElement}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) setProperty(element, name, value);
  element.append(...children.filter((child) => child != null && child !== false));
  return element;
}

function setProperty(element, name, value) {
  if (value == null || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "value") element.value = value;
  else element.setAttribute(name, value === true ? "" : value);
}

/**
 * Make `parent`'s children show `items`, keeping the element of an item that stays, and with it
 * its focus, selection and scroll position.
 *
 * @template T
 * @param {HTMLElement} parent holds nothing else
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => HTMLElement} create
 * @param {(element: HTMLElement, item: T) => void} [update]
 */
export function reconcile(parent, items, keyOf, create, update = () => {}) {
  const existing = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = existing.get(key) ?? create(item);
    existing.delete(key);
    element.dataset.key = key;
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
  for (const element of existing.values()) element.remove();
}

/** Set text only when it differs: an equal write would still disturb selection and live regions. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  plus: ["M12 5v14", "M5 12h14"],
  send: ["M12 19V6", "M6 11.5 12 5.5l6 6"],
  stop: ["M7.5 7.5h9v9h-9z"],
  copy: ["M9 9h10v11H9z", "M15 9V4H5v11h4"],
  check: ["M5 12.5 10 17.5 19 7"],
  pencil: ["M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19z", "M13.5 7l3.5 3.5"],
  trash: ["M4.5 7h15", "M9.5 7V4h5v3", "M6.5 7l1 13h9l1-13", "M10.5 11v5.5", "M13.5 11v5.5"],
  down: ["M12 5v13", "M6 12.5l6 6 6-6"],
  retry: ["M19 12a7 7 0 1 1-2.2-5.1", "M19.5 3.5V8H15"],
  scene: ["M5 4h14v16H5z", "M8.5 9h7", "M8.5 12.5h7", "M8.5 16h4"],
  chat: ["M4 5h16v11H11l-4.5 4v-4H4z"],
};

/** @param {keyof typeof ICONS} name @returns {SVGElement} drawn in the colour of the text */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  for (const d of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("d", d);
    svg.append(path);
  }
  return svg;
}
