/** Trees of conditions, as filters are stored and sent. */

/** @import { Condition, Group } from "./types.d.ts" */

export const MAX_CONDITIONS = 50;

/** Programs store single conditions as well. @param {Condition|Group|null|undefined} filter
 * @returns {Group} a copy that may be changed */
export function asGroup(filter) {
  if (!filter) return { and: [] };
  const copy = structuredClone(filter);
  return isGroup(copy) ? copy : { and: [copy] };
}

/** @param {Group|null} group @returns {(Condition|Group)[]} what is in it */
export function partsOf(group) {
  if (!group) return [];
  return "and" in group ? group.and : group.or;
}

/** @param {Condition|Group} part @returns {part is Group} */
export function isGroup(part) {
  return "and" in part || "or" in part;
}

/** @param {Group|null} group @returns {number} */
export function countConditions(group) {
  return partsOf(group && asGroup(group)).reduce(
    (sum, part) => sum + (isGroup(part) ? countConditions(part) : 1),
    0,
  );
}

/** @param {Group|null} group @returns {Group|null} what is complete of it; null: nothing is */
export function completeFilter(group) {
  const parts = partsOf(group).map((part) =>
    isGroup(part) ? completeFilter(part) : isComplete(part) ? part : null
  ).filter((part) => part !== null);
  if (parts.length === 0 || !group) return null;
  return "and" in group ? { and: parts } : { or: parts };
}

/** @param {Condition} condition */
function isComplete({ op, value }) {
  if (op === "empty" || op === "not_empty") return true;
  if (Array.isArray(value)) {
    return value.length > 0 && value.every((item) => item !== null && item !== "");
  }
  return value !== undefined && value !== null && value !== "";
}
