/** Rendering that may take long, some milliseconds of an animation frame at a time: the page stays
 * as quick to answer as before, however much text comes. */

/** One frame's share for all jobs together. */
const FRAME_MS = 8;
/** Of the main thread, these jobs take at most one part in this many. */
const SHARE = 4;

/**
 * Jobs wait in order; one that is queued already is not queued again.
 *
 * @typedef {(deadline: number) => boolean} Job does some of its work, until `deadline` at most
 *   (of performance.now()); true when all is done
 */
export class FrameQueue {
  /** @type {Set<Job>} */
  #jobs = new Set();
  #isPlanned = false;
  #notBefore = 0;

  /** @param {Job} job */
  add(job) {
    this.#jobs.add(job);
    this.#plan();
  }

  /** @param {Job} job */
  remove(job) {
    this.#jobs.delete(job);
  }

  #plan() {
    if (this.#isPlanned || this.#jobs.size === 0) return;
    this.#isPlanned = true;
    requestAnimationFrame(() => this.#run());
  }

  #run() {
    this.#isPlanned = false;
    const start = performance.now();
    if (start >= this.#notBefore) {
      this.#work(start + FRAME_MS);
      const end = performance.now();
      this.#notBefore = end + (end - start) * (SHARE - 1);
    }
    this.#plan();
  }

  /** @param {number} deadline */
  #work(deadline) {
    for (const job of this.#jobs) {
      this.#jobs.delete(job);
      // Behind the others: one long text does not hold up the short ones.
      if (!job(deadline)) this.#jobs.add(job);
      if (performance.now() >= deadline) return;
    }
  }
}
