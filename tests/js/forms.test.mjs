import assert from "node:assert/strict";
import { test } from "node:test";

import { nodeOf } from "../../static/js/forms/nodes.js";
import { initial, read, restored } from "../../static/js/forms/values.js";
import { parseExactly, stringify } from "../../static/js/client/json.js";

const object = (properties, more = {}) => ({ type: "object", properties, ...more });
const kinds = (schema) =>
  Object.fromEntries(nodeOf(schema).members.map(({ name, node }) => [name, node.kind]));
const kindOf = (property, more) => kinds(object({ it: property }, more)).it;
const member = (property, more) => nodeOf(object({ it: property }, more)).members[0];

/** Values and errors of a form whose inputs hold what `fill` has put there. */
function filled(schema, fill = () => {}) {
  const node = nodeOf(schema);
  const state = initial(node);
  fill(state.states, state);
  const errors = {};
  const value = read(node, state, true, "", (path, { key }) => errors[path] ??= key);
  return { value, errors };
}

test("each kind of schema has its input", () => {
  for (
    const [schema, kind] of [
      [{ type: "string" }, "text"],
      [{ type: "string", maxLength: 80 }, "line"],
      [{ type: "string", format: "date" }, "line"],
      [{}, "text"],
      [true, "text"],
      [{ type: "integer" }, "integer"],
      [{ minimum: 1 }, "number"],
      [{ type: "boolean" }, "boolean"],
      [{ enum: ["a", 1, { b: 2 }] }, "choice"],
      [{ const: "a" }, "choice"],
      [{ oneOf: [{ const: "a", title: "A" }, { const: "b" }] }, "choice"],
      [{ anyOf: [{ enum: ["a"] }, { const: "b" }] }, "choice"],
      [{ type: "array", items: { type: "string" } }, "list"],
      [{ type: "array", items: object({ a: {} }) }, "list"],
      [object({ a: {} }), "object"],
      [{ anyOf: [{ type: "string" }, { type: "integer" }] }, "variants"],
      [{ type: ["string", "integer"] }, "variants"],
    ]
  ) assert.equal(kindOf(schema), kind, JSON.stringify(schema));
});

test("null takes no input of its own", () => {
  for (
    const schema of [
      { anyOf: [{ type: "string" }, { type: "null" }] },
      { oneOf: [{ type: "null" }, { type: "string" }] },
      { type: ["string", "null"] },
      { anyOf: [{ $ref: "#/$defs/Text" }, { type: "null" }] },
      { anyOf: [{ anyOf: [{ type: "string" }, { type: "null" }] }, { type: "null" }] },
    ]
  ) {
    const { node } = member(schema, { $defs: { Text: { type: "string" } } });
    assert.deepEqual([node.kind, node.isNullable], ["text", true], JSON.stringify(schema));
  }
  const choice = member({ type: ["string", "null"], enum: ["a", null] }).node;
  assert.deepEqual([choice.choices.map(({ value }) => value), choice.isNullable], [["a"], true]);
  const several = member({ anyOf: [{ type: "string" }, { type: "integer" }, { type: "null" }] });
  assert.deepEqual([several.node.kind, several.node.isNullable], ["variants", true]);
});

test("an empty nullable input is null where null is asked for or the default", () => {
  const nullable = { anyOf: [{ type: "integer" }, { type: "null" }] };
  const value = (property, required) => filled(object({ it: property }, { required })).value;
  assert.deepEqual(value(nullable, ["it"]), { it: null });
  assert.deepEqual(value({ ...nullable, default: null }, []), { it: null });
  assert.deepEqual(value(nullable, []), {});
  const given = filled(object({ it: nullable }), (states) => (states[0] = "7"));
  assert.deepEqual(given.value, { it: 7 });
});

test("references are followed, with notes from where they stand", () => {
  const schema = object(
    {
      one: { $ref: "#/$defs/a~1b", title: "Mine" },
      two: { allOf: [{ $ref: "#/$defs/a~1b" }], description: "D" },
    },
    { $defs: { "a/b": { $ref: "#/$defs/c" }, c: { type: "integer", title: "Its", minimum: 1 } } },
  );
  const [one, two] = nodeOf(schema).members.map(({ node }) => node);
  assert.deepEqual([one.kind, one.title, one.schema.minimum], ["integer", "Mine", 1]);
  assert.deepEqual([two.kind, two.title, two.description], ["integer", "Its", "D"]);
  const root = nodeOf({ $ref: "#/$defs/Root", $defs: { Root: object({ a: {} }) } });
  assert.deepEqual(root.members.map(({ name }) => name), ["a"]);
});

test("what contains itself ends in JSON, and in lists of itself", () => {
  const $defs = {
    Node: object({ name: { type: "string" }, next: { $ref: "#/$defs/Node" } }),
    Tree: object({ children: { type: "array", items: { $ref: "#/$defs/Tree" } } }),
  };
  const node = member({ $ref: "#/$defs/Node" }, { $defs }).node;
  assert.deepEqual(node.members.map(({ node }) => node.kind), ["text", "json"]);
  const tree = member({ $ref: "#/$defs/Tree" }, { $defs }).node;
  const children = tree.members[0].node.item().members[0].node;
  assert.equal(children.kind, "list");
  assert.equal(children.item().kind, "object");
});

test("odd schemas become JSON", () => {
  for (
    const schema of [
      { $ref: "#/$defs/nowhere" },
      { $ref: "https://example.org/schema" },
      { $ref: "#it" },
      { $ref: "#/%" },
      { allOf: [{ minimum: 1 }, { minimum: 2 }] },
      { allOf: [false] },
      { type: "object" },
      { type: "object", additionalProperties: { type: "string" } },
      { type: "object", patternProperties: { "^a": {} } },
      { type: "array" },
      { type: "array", prefixItems: [{}, {}] },
      { type: "array", items: { type: "string" }, contains: { const: "a" } },
      { type: "null" },
      { type: [] },
      { type: "file" },
      { anyOf: [] },
      { oneOf: "none" },
      { not: {} },
      { if: {}, then: {} },
      { default: 5 },
      { anyOf: Array.from({ length: 60 }, (_, number) => object({ [number]: {} })) },
    ]
  ) assert.equal(kindOf(schema), "json", JSON.stringify(schema));
  for (const schema of [null, undefined, true, [], {}, { type: "array" }, { type: "object" }]) {
    assert.equal(nodeOf(schema).kind, "json", JSON.stringify(schema));
  }
});

test("references that multiply do not", () => {
  const $defs = { d0: { type: "string" } };
  for (let depth = 1; depth < 40; depth++) {
    const $ref = `#/$defs/d${depth - 1}`;
    $defs[`d${depth}`] = object(
      Object.fromEntries([..."abcdefgh"].map((name) => [name, { $ref }])),
    );
  }
  const node = nodeOf({ $ref: "#/$defs/d39", $defs });
  let count = 0;
  const visit = (each) => {
    count++;
    for (const { node: inner } of each.members ?? []) visit(inner);
  };
  visit(node);
  assert.ok(count < 10_000, String(count));
});

test("names may be anything", () => {
  const names = ["__proto__", "constructor", "a.b", 'quo"te', "", "空 格"];
  const properties = Object.fromEntries(names.map((name) => [name, { type: "string" }]));
  const { value, errors } = filled(
    object(properties, { required: [...names, "toString"] }),
    (states) => states.forEach((_, index) => (states[index] = String(index))),
  );
  assert.deepEqual(Object.keys(value), [...names, "toString"]);
  assert.deepEqual(errors, {});
});

test("properties come in their author's order", () => {
  const schema = parseExactly('{"properties":{"zz":{},"b":{},"aaa":{}},"required":["aaa"]}');
  assert.deepEqual(nodeOf(schema).members.map(({ name }) => name), ["zz", "b", "aaa"]);
});

test("integers beyond 2^53 are read, kept and sent exactly", () => {
  const big = "9007199254740993";
  const schema = parseExactly(`{"properties":{"n":{"type":"integer","default":${big}}}}`);
  assert.equal(stringify(filled(schema).value), `{"n":${big}}`);
  const { value } = filled(schema, (states) => (states[0] = "-123456789012345678901234567890"));
  assert.equal(
    stringify({ variables: value }),
    '{"variables":{"n":-123456789012345678901234567890}}',
  );
  const json = filled(
    object({ it: { type: "object" } }),
    (states) => (states[0] = `{"a": ${big}}`),
  );
  assert.equal(stringify(json.value), `{"it":{"a":${big}}}`);
  assert.equal(filled(schema, (states) => (states[0] = "7")).value.n, 7);
});

test("JSON is written as the browser writes it", () => {
  const value = { a: [1, "x\n", null, { b: [] }, {}], u: undefined, "空": true, e: 1e300 };
  assert.equal(stringify(value), JSON.stringify(value));
  assert.equal(stringify(value, 2), JSON.stringify(value, null, 2));
});

test("what is wrong is said by field", () => {
  for (
    const [property, text, key] of [
      [{ type: "string" }, "", "form.required"],
      [{ type: "string", minLength: 3 }, "ab", "form.too_short"],
      [{ type: "string", maxLength: 2 }, "𝒳𝒴𝒵", "form.too_long"],
      [{ type: "string", pattern: "^a+$" }, "b", "form.no_match"],
      [{ type: "string", format: "email" }, "me", "form.no_email"],
      [{ type: "string", format: "uri" }, "example", "form.no_uri"],
      [{ type: "string", format: "date" }, "1.2.26", "form.no_date"],
      [{ type: "integer" }, "1.5", "form.not_integer"],
      [{ type: "integer" }, "", "form.required"],
      [{ type: "number" }, "1,5", "form.not_number"],
      [{ type: "number" }, "1e999", "form.not_number"],
      [{ type: "integer", minimum: 2 }, "1", "form.below"],
      [{ type: "integer", maximum: 2 }, "99999999999999999999", "form.above"],
      [{ type: "integer", exclusiveMinimum: 2 }, "2", "form.not_above"],
      [{ type: "integer", multipleOf: 5 }, "7", "form.not_multiple"],
      [{ type: "number", multipleOf: 0.01 }, "0.005", "form.not_multiple"],
      [{ type: "object" }, "{", "form.not_json"],
    ]
  ) {
    const schema = object({ it: property }, { required: ["it"] });
    const { errors } = filled(schema, (states) => (states[0] = text));
    assert.deepEqual(errors, { it: key }, JSON.stringify([property, text]));
  }
  const list = object({
    all: { type: "array", minItems: 2, items: object({ n: { type: "integer" } }) },
  });
  const { errors } = filled(list, (states) => {
    const item = nodeOf(list).members[0].node.item();
    states[0].items.push(initial(item));
    states[0].items[0].states[0] = "x";
  });
  assert.deepEqual(errors, { "all.0.n": "form.not_integer", "all": "form.too_few" });
});

test("multiples are those of the numbers as they are written", () => {
  for (
    const [multipleOf, text] of [
      [0.01, "0.07"],
      [0.01, "19.99"],
      [0.1, "0.3"],
      [1e-7, "3e-7"],
      [0.5, "1e300"],
      [3, "9007199254740993"],
      [0.01, "-4.35"],
    ]
  ) {
    const schema = object({ it: { type: "number", multipleOf } });
    assert.deepEqual(filled(schema, (states) => (states[0] = text)).errors, {}, text);
  }
});

test("choices that look alike are told apart", () => {
  const labels = (choices) => member({ enum: choices }).node.choices.map(({ label }) => label);
  assert.deepEqual(labels([1, "1", true]), ["1", '"1"', "true"]);
  assert.deepEqual(labels(["a", "b", 1]), ["a", "b", "1"]);
});

test("dates with a time have an offset, and come back as they were", () => {
  const schema = object({ at: { type: "string", format: "date-time" } });
  const { value, errors } = filled(schema, (states) => (states[0] = "2026-01-31T12:30"));
  assert.match(value.at, /^2026-01-31T12:30:00(Z|[+-]\d\d:\d\d)$/);
  assert.deepEqual(errors, {});
  const again = object({ at: { type: "string", format: "date-time", default: value.at } });
  assert.deepEqual(filled(again).value, value);
});

test("of alternatives the one is sent that was chosen, by default the one that fits", () => {
  const cat = object({ kind: { const: "cat", title: "Kind" }, lives: { type: "integer" } }, {
    required: ["kind"],
    title: "Cat",
  });
  const dog = object({ kind: { const: "dog" }, name: { type: "string" } }, { required: ["kind"] });
  const pet = {
    oneOf: [{ $ref: "#/$defs/Cat" }, { $ref: "#/$defs/Dog" }],
    discriminator: { propertyName: "kind" },
  };
  const schema = (more) =>
    object({ pet: { ...pet, ...more } }, { $defs: { Cat: cat, Dog: dog }, required: ["pet"] });
  assert.deepEqual(filled(schema()).errors, { pet: "form.required" });
  assert.equal(nodeOf(schema()).members[0].node.variants[0].title, "Cat");
  const chosen = filled(schema(), ([state]) => {
    state.variant = 0;
    state.states[0].states[1] = "9";
  });
  assert.deepEqual(chosen.value, { pet: { kind: "cat", lives: 9 } });
  const value = { kind: "dog", name: "Rex" };
  assert.deepEqual(filled(schema({ default: value })).value, { pet: value });
});

test("an object that may be left out is, until it is filled in", () => {
  const inner = object({ street: { type: "string" } }, { required: ["street"] });
  const schema = object({ optional: inner, nullable: { anyOf: [inner, { type: "null" }] } }, {
    required: ["nullable"],
  });
  assert.deepEqual(filled(schema), { value: { nullable: null }, errors: {} });
  const given = filled(schema, ([optional]) => (optional.given = true));
  assert.deepEqual(given.errors, { "optional.street": "form.required" });
});

test("a draft comes back where it fits, and never breaks the form", () => {
  const schema = object({
    a: { type: "string" },
    tags: { type: "array", items: { type: "string" } },
    c: { enum: ["x"] },
  });
  const node = nodeOf(schema);
  const state = initial(node);
  state.states[0] = "half";
  state.states[1].items.push("one");
  assert.deepEqual(restored(node, JSON.parse(JSON.stringify(state))), state);
  for (
    const draft of [null, 5, "x", [], {}, { states: [1] }, { states: [{}, "x", "7"] }, { a: "old" }]
  ) {
    const found = restored(node, draft);
    assert.deepEqual(read(node, found, true, "", () => {}).c, undefined);
  }
});
