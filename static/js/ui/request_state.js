/** What a person has asked the server to do: one request at a time, and why it was refused. */

export class RequestState {
  isBusy = false;
  /** @type {any} */
  error = null;
  #onChange;

  /** @param {() => void} onChange of `isBusy` or `error` */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /**
   * Carry out an action, unless another one is under way: a second click sends nothing.
   *
   * @param {() => unknown} action what it throws becomes `error`
   * @returns {Promise<boolean>} it was carried out
   */
  async run(action) {
    if (this.isBusy) return false;
    this.isBusy = true;
    this.error = null;
    this.#onChange();
    try {
      await action();
      return true;
    } catch (error) {
      this.error = error;
      return false;
    } finally {
      this.isBusy = false;
      this.#onChange();
    }
  }
}
