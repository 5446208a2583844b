/** What may be done with a run, on its page and beside a table. */

/** @import { RunData } from "../../client/types.d.ts" */

const RETRYABLE = ["running", "paused", "done", "cancelled", "expired"];
const CANCELLABLE = ["validating", "scheduled", "running", "paused"];

/** `failed`: how many rows would be run again.
 * @param {Pick<RunData, "state"|"counts">} run */
export function allowedActions({ state, counts }) {
  const failed = counts.failed + counts.expired + counts.cancelled;
  return {
    failed,
    pause: state === "running" || state === "scheduled",
    resume: state === "paused",
    retry: failed > 0 && RETRYABLE.includes(state),
    cancel: CANCELLABLE.includes(state),
  };
}
