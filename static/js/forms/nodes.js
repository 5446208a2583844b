/**
 * From a JSON Schema to what a form asks for. Schemas come from authors and from programs such as
 * pydantic; what has no input of its own is asked for as JSON, so no schema breaks a form.
 */

import { stringify } from "../client/json.js";

/** @import { Choice, Member, Node, Schema, SchemaObject } from "./types.d.ts" */

const LONG_TEXT_CHARS = 200;
/** Deeper, a form is no longer easier to fill in than JSON. */
const MAX_DEPTH = 10;
/** Of a form in all: references to references may multiply. */
const MAX_NODES = 1000;
/** More alternatives than this are read as JSON: each is built. */
const MAX_VARIANTS = 50;
const NOTHING = /** @type {const} */ ({ type: "null" });
/** Keywords that only say something about a value. */
const NOTES = new Set([
  "$comment",
  "$schema",
  "default",
  "deprecated",
  "description",
  "examples",
  "readOnly",
  "title",
  "writeOnly",
]);
/** Keywords that change what the others ask for. */
const CONDITIONS = ["not", "if", "dependentSchemas"];

/**
 * @typedef {object} Place of a schema within another
 * @property {SchemaObject} root
 * @property {string[]} refs that led to it
 * @property {number} depth
 * @property {{nodes: number}} left of what may be built
 */

/** @param {Schema|null|undefined} schema of a scene's variables @returns {Node} */
export function nodeOf(schema) {
  const root = isObject(schema) ? schema : {};
  const node = build(root, { root, refs: [], depth: 0, left: { nodes: MAX_NODES } }, "");
  if (node.kind === "object" || node.kind === "variants") return node;
  return { ...node, kind: "json" };
}

/** @param {unknown} value @returns {value is Record<string, any>} */
function isObject(value) {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param {Schema|undefined} schema @param {Place} place @param {string} name @returns {Node} */
function build(schema, place, name) {
  const found = place.left.nodes-- > 0 ? resolve(schema, place) : null;
  if (!found) return common("json", isObject(schema) ? schema : {}, name, false);
  const inner = { ...found.place, depth: place.depth + 1 };
  const { core, isNullable } = withoutNull(found.schema);
  if (core !== found.schema) {
    // The note of the whole goes before those of its parts.
    const node = build({ ...asSchema(core), ...notesOf(found.schema) }, inner, name);
    return { ...node, isNullable: isNullable || node.isNullable };
  }
  return ofKind(found.schema, inner, name);
}

/** @param {Schema} schema @returns {SchemaObject} */
function asSchema(schema) {
  return isObject(schema) ? schema : {};
}

/** @param {SchemaObject} schema @returns {SchemaObject} */
function notesOf(schema) {
  return Object.fromEntries(Object.entries(schema).filter(([keyword]) => NOTES.has(keyword)));
}

/**
 * The schema with what its `$ref`s and single `allOf` lead to.
 *
 * @param {Schema|undefined} schema @param {Place} place
 * @returns {{schema: SchemaObject, place: Place}|null} null: only JSON can be asked for
 */
function resolve(schema, place) {
  if (schema === true || schema === undefined) return { schema: {}, place };
  if (!isObject(schema) || place.depth > MAX_DEPTH) return null;
  if (typeof schema.$ref === "string") {
    const { $ref, ...others } = schema;
    // What contains itself has no end; items of lists are built when they are added.
    const target = place.refs.includes($ref) ? undefined : lookUp($ref, place.root);
    if (target === undefined) return null;
    const merged = merge(asSchema(target), others);
    return merged && resolve(merged, { ...place, refs: [...place.refs, $ref] });
  }
  if (!Array.isArray(schema.allOf)) return { schema, place };
  const { allOf, ...others } = schema;
  let merged = /** @type {SchemaObject|null} */ ({});
  let within = place;
  for (const part of allOf) {
    const found = resolve(part, within);
    merged = found && merged && merge(merged, found.schema);
    if (!found) return null;
    within = found.place;
  }
  merged = merged && merge(merged, others);
  return merged && resolve(merged, within);
}

/** @param {string} reference @param {SchemaObject} root @returns {Schema|undefined} */
function lookUp(reference, root) {
  if (reference === "#") return root;
  if (!reference.startsWith("#/")) return undefined;
  /** @type {any} */
  let found = root;
  for (const part of reference.slice(2).split("/")) {
    let name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    try {
      name = decodeURIComponent(name);
    } catch {
      // A percent sign that is no escape is taken literally.
    }
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) {
      return undefined;
    }
    found = found[name];
  }
  return found;
}

/**
 * Both schemas in one. Null where they say different things by the same keyword.
 *
 * @param {SchemaObject} first @param {SchemaObject} second @returns {SchemaObject|null}
 */
function merge(first, second) {
  const merged = { ...first };
  for (const [keyword, value] of Object.entries(second)) {
    const known = Object.hasOwn(first, keyword) ? first[keyword] : undefined;
    if (known === undefined || NOTES.has(keyword) || stringify(known) === stringify(value)) {
      merged[keyword] = value;
    } else if (keyword === "properties" && isObject(known) && isObject(value)) {
      if (Object.keys(value).some((name) => Object.hasOwn(known, name))) return null;
      merged.properties = { ...known, ...value };
    } else if (keyword === "required" && Array.isArray(known) && Array.isArray(value)) {
      merged.required = [...new Set([...known, ...value])];
    } else if (keyword === "$defs") {
      merged.$defs = known;
    } else {
      return null;
    }
  }
  return merged;
}

/**
 * Of `anyOf` with null and of several types with null, the rest.
 *
 * @param {SchemaObject} schema @returns {{core: Schema, isNullable: boolean}}
 */
function withoutNull(schema) {
  const { type } = schema;
  if (Array.isArray(type)) {
    const types = type.filter((name) => name !== "null");
    const alternatives = types.map((name) => ({ ...schema, type: name }));
    const isNullable = types.length < type.length;
    if (types.length === 1) return { core: alternatives[0], isNullable };
    if (types.length > 1) {
      return { core: { ...notesOf(schema), anyOf: alternatives.map(withoutNotes) }, isNullable };
    }
    return { core: schema, isNullable };
  }
  for (const keyword of /** @type {const} */ (["anyOf", "oneOf"])) {
    const alternatives = schema[keyword];
    if (!Array.isArray(alternatives)) continue;
    const others = alternatives.filter((alternative) => !isNothing(alternative));
    const isNullable = others.length < alternatives.length;
    const { [keyword]: _, ...rest } = schema;
    if (others.length === 1) {
      const core = merge(asSchema(others[0]), rest);
      return core ? { core, isNullable } : { core: schema, isNullable: false };
    }
    if (isNullable) return { core: { ...rest, [keyword]: others }, isNullable };
  }
  return { core: schema, isNullable: false };
}

/** @param {unknown} schema */
function isNothing(schema) {
  return isObject(schema) && (schema.type === NOTHING.type || schema.const === null);
}

/** @param {SchemaObject} schema @returns {SchemaObject} */
function withoutNotes(schema) {
  return Object.fromEntries(
    Object.entries(schema).filter(([keyword]) => keyword === "title" || !NOTES.has(keyword)),
  );
}

/** @param {SchemaObject} schema @param {Place} place @param {string} name @returns {Node} */
function ofKind(schema, place, name) {
  const choices = choicesOf(schema, place);
  if (choices) {
    const isNullable = choices.some(({ value }) => value === null);
    const others = choices.filter(({ value }) => value !== null);
    return { ...common("json", schema, name, isNullable), kind: "choice", choices: others };
  }
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (alternatives !== undefined) return variantsOf(alternatives, schema, place, name);
  if (CONDITIONS.some((keyword) => keyword in schema) && place.depth > 1) {
    return common("json", schema, name, false);
  }
  switch (typeOf(schema)) {
    case "object":
      return objectOf(schema, place, name);
    case "array":
      return listOf(schema, place, name);
    case "boolean":
      return common("boolean", schema, name, false);
    case "integer":
      return common("integer", schema, name, false);
    case "number":
      return common("number", schema, name, false);
    case "string":
      return common(isLong(schema) ? "text" : "line", schema, name, false);
    default:
      return common("json", schema, name, false);
  }
}

/** @param {SchemaObject} schema */
function isLong({ format, pattern, maxLength }) {
  return format === undefined && pattern === undefined &&
    (maxLength ?? Infinity) > LONG_TEXT_CHARS;
}

/**
 * The schema's type; where it names none, what its other keywords speak of, and else a text.
 *
 * @param {SchemaObject} schema @returns {unknown}
 */
function typeOf(schema) {
  if (schema.type !== undefined) return schema.type;
  if (isObject(schema.properties) || "additionalProperties" in schema || "required" in schema) {
    return "object";
  }
  if ("items" in schema || "prefixItems" in schema || "contains" in schema) return "array";
  if (["minimum", "maximum", "multipleOf"].some((keyword) => keyword in schema)) return "number";
  const value = schema.default ?? schema.examples?.[0] ?? "";
  return typeof value === "string" ? "string" : "any";
}

/**
 * @param {"text"|"line"|"integer"|"number"|"boolean"|"json"} kind
 * @param {SchemaObject} schema @param {string} name @param {boolean} isNullable
 * @returns {Node}
 */
function common(kind, schema, name, isNullable) {
  const { title, description } = schema;
  return {
    kind,
    schema,
    isNullable,
    title: typeof title === "string" && title ? title : titleOf(name),
    description: typeof description === "string" ? description : "",
  };
}

/** @param {string} name such as "target_language" */
function titleOf(name) {
  const words = name.replaceAll("_", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** @param {SchemaObject} schema @param {Place} place @returns {Choice[]|null} null: no such list */
function choicesOf(schema, place) {
  if ("const" in schema) return [{ label: labelOf(schema.const), value: schema.const }];
  if (Array.isArray(schema.enum)) return distinct(schema.enum);
  const alternatives = schema.oneOf ?? schema.anyOf;
  if (!Array.isArray(alternatives) || alternatives.length === 0) return null;
  /** @type {Choice[]} */
  const choices = [];
  for (const alternative of alternatives) {
    const found = resolve(alternative, place)?.schema;
    if (!found || !("const" in found || Array.isArray(found.enum))) return null;
    const named = choicesOf(found, place) ?? [];
    const { title } = found;
    const isNamed = named.length === 1 && typeof title === "string" && title !== "";
    choices.push(...(isNamed ? [{ ...named[0], label: title }] : named));
  }
  return choices;
}

/** A text is quoted where it would look like a value of another type. @param {unknown[]} values
 * @returns {Choice[]} */
function distinct(values) {
  const labels = values.map(labelOf);
  const isUnique = new Set(labels).size === new Set(values.map((value) => stringify(value))).size;
  return values.map((value) => ({ label: isUnique ? labelOf(value) : stringify(value), value }));
}

/** @param {unknown} value */
function labelOf(value) {
  return typeof value === "string" ? value : stringify(value);
}

/**
 * @param {unknown} alternatives @param {SchemaObject} schema @param {Place} place
 * @param {string} name @returns {Node}
 */
function variantsOf(alternatives, schema, place, name) {
  const { oneOf: _, anyOf: __, discriminator: ___, ...rest } = schema;
  if (!Array.isArray(alternatives) || !alternatives.length || alternatives.length > MAX_VARIANTS) {
    return common("json", schema, name, false);
  }
  const shared = Object.fromEntries(
    Object.entries(rest).filter(([keyword]) => !NOTES.has(keyword) && keyword !== "$defs"),
  );
  /** @type {Node[]} */
  const variants = [];
  for (const alternative of alternatives) {
    const found = resolve(alternative, place);
    const merged = found && merge(found.schema, shared);
    if (!found || !merged) return common("json", schema, name, false);
    variants.push(build(merged, found.place, ""));
  }
  return { ...common("json", schema, name, false), kind: "variants", variants };
}

/** @param {SchemaObject} schema @param {Place} place @param {string} name @returns {Node} */
function objectOf(schema, place, name) {
  const properties = isObject(schema.properties) ? schema.properties : {};
  const required = new Set(Array.isArray(schema.required) ? schema.required : []);
  const names = [...new Set([...Object.keys(properties), ...required])].filter((member) =>
    typeof member === "string" && properties[member] !== false
  );
  // Names that its user chooses.
  if (names.length === 0 && schema.additionalProperties !== false) {
    return common("json", schema, name, false);
  }
  /** @type {Member[]} */
  const members = names.map((member) => ({
    name: member,
    isRequired: required.has(member),
    node: build(Object.hasOwn(properties, member) ? properties[member] : {}, place, member),
  }));
  return { ...common("json", schema, name, false), kind: "object", members };
}

/** @param {SchemaObject} schema @param {Place} place @param {string} name @returns {Node} */
function listOf(schema, place, name) {
  if (["prefixItems", "contains", "unevaluatedItems"].some((keyword) => keyword in schema)) {
    return common("json", schema, name, false);
  }
  if (!isObject(schema.items) || place.depth > MAX_DEPTH) {
    return common("json", schema, name, false);
  }
  const items = schema.items;
  // Items are built one by one as they are added: a tree's references have an end there.
  const inside = { ...place, refs: [], left: { nodes: MAX_NODES } };
  /** @type {Node|undefined} */
  let item;
  return {
    ...common("json", schema, name, false),
    kind: "list",
    item: () => item ??= build(items, inside, ""),
  };
}
