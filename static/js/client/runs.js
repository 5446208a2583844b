/** Runs: many requests as one thing. */

/** @import { Api } from "./api.js" */

export class Runs {
  #api;

  /** @param {Api} api */
  constructor(api) {
    this.#api = api;
  }

  /** @param {string} runId @returns {Promise<any>} its state and counts */
  get(runId) {
    return this.#api.request("GET", `/llmchat/runs/${runId}`);
  }
}
