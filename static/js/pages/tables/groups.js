/** What is computed of the rows of a group, as text. */

import { formatNumber, t } from "../../i18n/i18n.js";

/**
 * @import { OpenView } from "./view_state.js"
 * @import { Field, Value } from "./types.d.ts"
 */

/**
 * @param {Field[]} fields @param {Record<string, Value>} aggregates by field @param {OpenView} view
 * @returns {string[]}
 */
export function aggregateText(fields, aggregates, view) {
  const names = view.state.aggregates;
  return Object.entries(aggregates ?? {}).flatMap(([key, value]) => {
    const field = fields.find((other) => other.key === key);
    if (!field || value === null || !names[key]) return [];
    const name = t(/** @type {any} */ (`tables.aggregate.${names[key]}`));
    return [t("tables.aggregate_of", { name, field: field.name, value: rounded(value) })];
  });
}

/** @param {Value} value */
function rounded(value) {
  return typeof value === "number" ? formatNumber(Math.round(value * 1e6) / 1e6) : String(value);
}
