/** What is in a form's inputs: made from values, and read as values. */

import { parseExactly, stringify } from "../client/json.js";
import { check, whyNotNumber } from "./checks.js";
import { fromInput, toInput } from "./moments.js";

/**
 * @import { Member, Node, State } from "./types.d.ts"
 * @import { Complaint } from "./checks.js"
 * @typedef {(path: string, complaint: Complaint) => void} OnError
 */

/**
 * @param {Node} node @param {boolean} [isRequired] false: a whole object may be left out
 * @param {unknown} [value] without one, the schema's default
 * @returns {State}
 */
export function initial(node, isRequired = true, value = node.schema.default) {
  switch (node.kind) {
    case "object":
      return {
        given: !mayLack(node, isRequired) || isObject(value),
        states: membersOf(node, value),
      };
    case "list": {
      const items = Array.isArray(value) ? value : [];
      return { items: items.map((item) => initial(node.item(), true, item)) };
    }
    case "variants":
      return variantFor(node, value);
    case "choice":
      return choiceFor(node, mayLack(node, isRequired), value);
    case "boolean":
      if (typeof value === "boolean") return isThreefold(node) ? String(value) : value;
      return isThreefold(node) ? "" : false;
    case "json":
      return value === undefined ? "" : stringify(value, 2);
    default:
      if (value === undefined || value === null) return "";
      return typeof value === "object" ? "" : toInput(node.schema.format, String(value));
  }
}

/** Whether there is a choice to give the whole of it or not. @param {Node} node
 * @param {boolean} isRequired */
export function mayLack(node, isRequired) {
  return node.isNullable || !isRequired;
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Of these, "not given" is something else than false. @param {Node} node */
export function isThreefold(node) {
  return node.kind === "boolean" && node.isNullable;
}

/** @param {Extract<Node, {kind: "object"}>} node @param {any} value @returns {State[]} */
function membersOf({ members }, value) {
  return members.map(({ name, isRequired, node }) => {
    const isThere = isObject(value) && Object.hasOwn(value, name);
    return isThere ? initial(node, isRequired, value[name]) : initial(node, isRequired);
  });
}

/** @param {Extract<Node, {kind: "variants"}>} node @param {unknown} value @returns {State} */
function variantFor({ variants }, value) {
  const variant = variants.findIndex((each) => couldBe(each, value));
  const states = variants.map((each, index) =>
    index === variant ? initial(each, true, value) : initial(each)
  );
  return { variant, states };
}

/** @param {Node} node @param {any} value @returns {boolean} */
function couldBe(node, value) {
  if (node.kind === "list") return Array.isArray(value);
  if (node.kind === "integer") return Number.isInteger(value) || typeof value === "bigint";
  if (node.kind === "number") return typeof value === "number";
  if (node.kind === "boolean") return typeof value === "boolean";
  if (node.kind === "choice") return node.choices.some((choice) => isSame(choice.value, value));
  if (node.kind !== "object") return typeof value === "string";
  return isObject(value) && node.members.every(({ name, isRequired, node: member }) => {
    if (!Object.hasOwn(value, name)) return !isRequired;
    return member.kind !== "choice" || couldBe(member, value[name]);
  });
}

/** @param {unknown} one @param {unknown} other */
function isSame(one, other) {
  return one === other || (other !== undefined && stringify(one) === stringify(other));
}

/**
 * @param {Extract<Node, {kind: "choice"}>} node @param {boolean} isOpen @param {unknown} value
 * @returns {State}
 */
function choiceFor({ choices }, isOpen, value) {
  // There is nothing to choose.
  if (choices.length === 1 && !isOpen) return "0";
  const index = choices.findIndex((choice) => isSame(choice.value, value));
  return index < 0 ? "" : String(index);
}

/**
 * A draft's state: perhaps of an earlier schema, and then without what does not fit.
 *
 * @param {Node} node @param {any} draft @param {boolean} [isRequired] @returns {State}
 */
export function restored(node, draft, isRequired = true) {
  const fresh = initial(node, isRequired);
  if (typeof draft !== typeof fresh || draft === null) return fresh;
  switch (node.kind) {
    case "object":
      if (draft.states?.length !== node.members.length) return fresh;
      return {
        given: draft.given === true || !mayLack(node, isRequired),
        states: node.members.map((member, index) =>
          restored(member.node, draft.states[index], member.isRequired)
        ),
      };
    case "list":
      if (!Array.isArray(draft.items)) return fresh;
      return {
        items: draft.items.map((/** @type {any} */ item) => restored(node.item(), item)),
      };
    case "variants":
      if (draft.states?.length !== node.variants.length) return fresh;
      return {
        variant: node.variants[draft.variant] ? draft.variant : -1,
        states: node.variants.map((variant, index) => restored(variant, draft.states[index])),
      };
    case "choice":
      return draft === "" || node.choices[Number(draft)] ? draft : fresh;
    default:
      return draft;
  }
}

// --- Reading ------------------------------------------------------------------------------------
/** @param {string} path @param {string|number} name as the server writes the paths of fields */
export function pathTo(path, name) {
  return path ? `${path}.${name}` : String(name);
}

/**
 * The value of a node; undefined: it is not given.
 *
 * @param {Node} node @param {any} state @param {boolean} isRequired
 * @param {string} path @param {OnError} onError is called with what is wrong
 * @returns {unknown}
 */
export function read(node, state, isRequired, path, onError) {
  const value = valueOf(node, state, isRequired, path, onError);
  if (value === undefined) return absent(node, isRequired, path, onError);
  if (value instanceof Error) return undefined;
  const complaint = check(node, value);
  if (complaint) onError(path, complaint);
  return value;
}

/** Nothing was entered. @param {Node} node @param {boolean} isRequired @param {string} path
 * @param {OnError} onError */
function absent(node, isRequired, path, onError) {
  if (node.isNullable) return isRequired || node.schema.default === null ? null : undefined;
  if (isRequired) onError(path, { key: "form.required" });
  return undefined;
}

const wrong = new Error("named to onError");

/** @param {Node} node @param {any} state @param {boolean} isRequired @param {string} path
 * @param {OnError} onError */
function valueOf(node, state, isRequired, path, onError) {
  switch (node.kind) {
    case "object":
      return state.given ? readMembers(node.members, state.states, path, onError) : undefined;
    case "list": {
      const item = node.item();
      const items = state.items.map((/** @type {State} */ each, /** @type {number} */ index) =>
        read(item, each, true, pathTo(path, index), onError)
      );
      const isLeftOut = items.length === 0 && (node.isNullable || !isRequired) &&
        !Array.isArray(node.schema.default);
      return isLeftOut ? undefined : items;
    }
    case "variants":
      if (!node.variants[state.variant]) return undefined;
      return read(node.variants[state.variant], state.states[state.variant], true, path, onError);
    case "choice":
      return state === "" ? undefined : node.choices[Number(state)].value;
    case "boolean":
      return state === "" ? undefined : String(state) === "true";
    case "integer":
    case "number":
      return readNumber(node, state.trim(), path, onError);
    case "json":
      return readJson(state, path, onError);
    default:
      return state === "" ? undefined : fromInput(node.schema.format, state);
  }
}

/**
 * @param {Member[]} members @param {State[]} states @param {string} path @param {OnError} onError
 */
function readMembers(members, states, path, onError) {
  const entries = members.map(({ name, isRequired, node }, index) => {
    return [name, read(node, states[index], isRequired, pathTo(path, name), onError)];
  });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** @param {Node} node @param {string} text @param {string} path @param {OnError} onError */
function readNumber({ kind }, text, path, onError) {
  if (text === "") return undefined;
  const complaint = whyNotNumber(kind, text);
  if (complaint) {
    onError(path, complaint);
    return wrong;
  }
  const number = Number(text);
  const isExact = !/^[+-]?\d+$/.test(text) || Number.isSafeInteger(number);
  return isExact ? number : BigInt(text);
}

/** @param {string} text @param {string} path @param {OnError} onError */
function readJson(text, path, onError) {
  if (text.trim() === "") return undefined;
  try {
    return parseExactly(text);
  } catch {
    onError(path, { key: "form.not_json" });
    return wrong;
  }
}
