/** Fields are dragged by their headers to another place. Their menu does the same by keyboard, and
 * by touch, where a drag scrolls. */

/** A click moves as well, a little. */
const MIN_PX = 6;
/** So near to an edge the grid scrolls, by so much a frame. */
const EDGE_PX = 48;
const SCROLL_PX = 10;
const NOT_DRAGGED = "button, .slick-resizable-handle";

/** @typedef {{key: string, target: string, isAfter: boolean}} Drop beside the target */

export class ColumnDrag {
  #element;
  #onDrop;
  /** Keys of fields by their header. @type {WeakMap<Element, string>} */
  #keys = new WeakMap();
  /** @type {AbortController|null} of the drag that is under way */
  #drag = null;
  /** @type {Drop|null} */
  #drop = null;
  #x = 0;

  /** @param {HTMLElement} element of the grid @param {(drop: Drop) => void} onDrop */
  constructor(element, onDrop) {
    this.#element = element;
    this.#onDrop = onDrop;
  }

  /** @param {HTMLElement} header @param {string} key of its field */
  add(header, key) {
    this.#keys.set(header, key);
    header.addEventListener("pointerdown", (event) => {
      const isOther = /** @type {Element} */ (event.target).closest(NOT_DRAGGED) !== null;
      if (event.button !== 0 || event.pointerType === "touch" || isOther) return;
      this.#press(header, key, event.clientX);
    });
  }

  /** @param {HTMLElement} header @param {string} key @param {number} start */
  #press(header, key, start) {
    this.end();
    const drag = new AbortController();
    const { signal } = drag;
    this.#drag = drag;
    const move = (/** @type {PointerEvent} */ event) => {
      this.#x = event.clientX;
      const isBegun = header.classList.contains("dragged");
      if (!isBegun && Math.abs(this.#x - start) < MIN_PX) return;
      event.preventDefault();
      if (!isBegun) this.#begin(header);
      this.#aim(key);
    };
    const drop = () => {
      const found = this.#drop;
      this.end();
      if (found) this.#onDrop(found);
    };
    const press = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Escape") this.end();
    };
    document.addEventListener("pointermove", move, { signal });
    document.addEventListener("pointerup", drop, { signal });
    document.addEventListener("pointercancel", () => this.end(), { signal });
    document.addEventListener("keydown", press, { signal });
  }

  /** @param {HTMLElement} header */
  #begin(header) {
    header.classList.add("dragged");
    this.#element.classList.add("drags-column");
    this.#scroll();
  }

  /** Beside which header the field would come. @param {string} key */
  #aim(key) {
    this.#clearMarks();
    this.#drop = null;
    for (const header of this.#element.querySelectorAll(".slick-header-column")) {
      const target = this.#keys.get(header);
      const { left, right, width } = header.getBoundingClientRect();
      if (!target || this.#x < left || this.#x >= right) continue;
      const isAfter = this.#x > left + width / 2;
      header.classList.add(isAfter ? "drop-after" : "drop-before");
      if (target !== key) this.#drop = { key, target, isAfter };
      return;
    }
  }

  /** As long as the pointer is at an edge. */
  #scroll() {
    if (!this.#drag) return;
    const viewports = this.#element.querySelectorAll(".slick-viewport");
    const viewport = [...viewports].find(({ scrollWidth, clientWidth }) =>
      scrollWidth > clientWidth
    );
    if (viewport) {
      const { left, right } = viewport.getBoundingClientRect();
      if (this.#x > right - EDGE_PX) viewport.scrollLeft += SCROLL_PX;
      else if (this.#x < left + EDGE_PX) viewport.scrollLeft -= SCROLL_PX;
    }
    requestAnimationFrame(() => this.#scroll());
  }

  #clearMarks() {
    for (const header of this.#element.querySelectorAll(".drop-before, .drop-after")) {
      header.classList.remove("drop-before", "drop-after");
    }
  }

  /** The drag is over; what was aimed at is forgotten. */
  end() {
    this.#drag?.abort();
    this.#drag = null;
    this.#drop = null;
    this.#clearMarks();
    this.#element.classList.remove("drags-column");
    this.#element.querySelector(".dragged")?.classList.remove("dragged");
  }
}
