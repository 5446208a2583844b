/** The estimate of a run that is set up: read anew when what it depends on changes. */

/** @template {import("../../client/types.d.ts").Estimate} Found */
export class Estimation {
  /** @type {Found|null} */
  found = null;
  /** Why there is none. @type {any} */
  refusal = null;
  isUnderWay = false;
  #reads = 0;
  #onChange;

  /** @param {() => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /** Nothing can be estimated yet. */
  clear() {
    this.#reads++;
    this.#set(null, null);
  }

  /** @param {() => Promise<Found>} ask only the answer to the last question is taken */
  async read(ask) {
    const read = ++this.#reads;
    this.isUnderWay = true;
    this.#onChange();
    try {
      const found = await ask();
      if (read === this.#reads) this.#set(found, null);
    } catch (error) {
      if (read === this.#reads) this.#set(null, error);
    }
  }

  /** @param {Found|null} found @param {any} refusal */
  #set(found, refusal) {
    this.isUnderWay = false;
    this.found = found;
    this.refusal = refusal;
    this.#onChange();
  }
}
