/** What was written and not sent, by place: it outlives reloads and going elsewhere, ends with the
 * tab, and is seen by no other user. */

export class Drafts {
  #prefix;
  #storage;

  /** @param {number} userId @param {Storage} storage */
  constructor(userId, storage = sessionStorage) {
    this.#prefix = `aily.draft.${userId}.`;
    this.#storage = storage;
  }

  /** @param {string} place such as "c/0198…" @returns {string} empty where there is none */
  read(place) {
    return this.#storage.getItem(this.#prefix + place) ?? "";
  }

  /** @param {string} place @param {string} text */
  write(place, text) {
    try {
      if (text) this.#storage.setItem(this.#prefix + place, text);
      else this.#storage.removeItem(this.#prefix + place);
    } catch (error) {
      // The storage is full: the text is still in its box.
      console.warn("draft", error);
    }
  }
}
