import assert from "node:assert/strict";
import { test } from "node:test";

import { loadTexts } from "../../static/js/i18n/i18n.js";
import { fromTsv, toTsv } from "../../static/js/pages/tables/clipboard.js";
import { Edits } from "../../static/js/pages/tables/edits.js";
import {
  asGroup,
  completeFilter,
  countConditions,
} from "../../static/js/pages/tables/filter_tree.js";
import { Layout } from "../../static/js/pages/tables/layout.js";
import { RowSource } from "../../static/js/pages/tables/rows.js";
import { isSame, parseText, plainText } from "../../static/js/pages/tables/values.js";
import { EMPTY_VIEW, finishLeftView, OpenView } from "../../static/js/pages/tables/view_state.js";

await loadTexts("tables");

const field = (kind, options = {}) => ({ id: 1, key: "f1", name: "F", kind, options });
const valueOf = (kind, text, options) => parseText(field(kind, options), text).value;

test("what spreadsheets put on the clipboard becomes rows, and back", () => {
  const rows = [["a", "two\nlines"], ['say "x"', "tab\there"], ["", ""], ["数", "é"]];
  assert.deepEqual(fromTsv(toTsv(rows)), rows);
  assert.deepEqual(fromTsv("a\tb\r\nc\td\r\n"), [["a", "b"], ["c", "d"]]);
  assert.deepEqual(fromTsv('5" pipe\t"quoted" word'), [['5" pipe', '"quoted" word']]);
  assert.deepEqual(fromTsv("one"), [["one"]]);
});

test("texts become values of the field's kind, or say why not", () => {
  assert.equal(valueOf("integer", " 1,234 "), 1234);
  assert.equal(valueOf("number", "-1.5e3"), -1500);
  assert.equal(valueOf("boolean", "是"), true);
  assert.equal(valueOf("boolean", "FALSE"), false);
  assert.equal(valueOf("date", "2026年1月5日"), "2026-01-05");
  assert.equal(valueOf("date", "2026-02-30"), undefined);
  assert.equal(valueOf("number", "1e400"), undefined);
  for (const text of ["2026-01-31T10:00:00Z", "2026/1/31 10:00Z", "2026年1月31日 18:00 +08:00"]) {
    assert.equal(valueOf("datetime", text), "2026-01-31T10:00:00.000Z");
  }
  assert.equal(valueOf("datetime", "2026-01-31"), new Date("2026-01-31T00:00").toISOString());
  for (const text of ["5", "Order 12", "2026-02-30 10:00", "2026-01-31 25:00"]) {
    assert.equal(valueOf("datetime", text), undefined);
  }
  assert.equal(valueOf("text", ""), null);
  assert.equal(valueOf("number", "  "), null);
  assert.equal(valueOf("long_text", "  kept "), "  kept ");
  assert.deepEqual(valueOf("json", '{"a": [1]}'), { a: [1] });
  const choices = [{ id: 3, name: "High" }, { id: 4, name: "低" }];
  assert.equal(valueOf("select", "high", { choices }), 3);
  assert.deepEqual(valueOf("multi_select", "低, High", { choices }), [4, 3]);
  assert.equal(plainText(field("multi_select", { choices }), [4, 3]), "低, High");
  for (
    const [kind, text] of [
      ["integer", "1.5"],
      ["integer", "9007199254740993"],
      ["number", "abc"],
      ["boolean", "maybe"],
      ["select", "none of them"],
      ["email", "nobody"],
      ["url", "javascript:alert(1)"],
      ["json", "{"],
    ]
  ) assert.ok(parseText(field(kind, { choices }), text).error, `${kind}: ${text}`);
});

test("empty values are the same, whatever they are written as", () => {
  assert.ok(isSame(null, ""));
  assert.ok(isSame(undefined, []));
  assert.ok(isSame([1, 2], [1, 2]));
  assert.ok(!isSame(0, null));
  assert.ok(!isSame(false, null));
});

test("headings of groups lie between the rows, and closed groups leave theirs out", () => {
  const layout = new Layout();
  assert.equal(layout.lines(5), 5);
  assert.equal(layout.at(3), 3);
  const group = (values, count) => ({ values, count, aggregates: {} });
  layout.setGroups([group(["a", 1], 2), group(["a", 2], 1), group(["b", 1], 3)]);
  assert.equal(layout.lines(6), 11);
  const shown = Array.from({ length: 11 }, (_, line) => {
    const place = layout.at(line);
    return typeof place === "number" ? place : `${place.level}:${place.value}:${place.count}`;
  });
  assert.deepEqual(
    shown,
    ["0:a:3", "1:1:2", 0, 1, "1:2:1", 2, "0:b:3", "1:1:3", 3, 4, 5],
  );
  assert.deepEqual([0, 2, 5].map((index) => layout.lineOf(index)), [2, 5, 10]);
  layout.toggle(layout.at(0).key);
  assert.equal(layout.lines(6), 6);
  assert.equal(layout.lineOf(0), -1);
  assert.equal(layout.lineOf(3), 3);
  // A row that was added since is at the end.
  assert.equal(layout.lines(7), 7);
  assert.equal(layout.at(6), 6);
});

test("a filter is sent without what is not filled in yet", () => {
  const filter = {
    and: [
      { field: "f1", op: "is", value: null },
      { or: [{ field: "f2", op: "empty" }, { field: "f2", op: "is", value: 0 }] },
      { or: [{ field: "f3", op: "in", value: [] }] },
      { field: "f4", op: "between", value: [1, null] },
    ],
  };
  assert.equal(countConditions(filter), 5);
  assert.deepEqual(completeFilter(filter), {
    and: [{ or: [{ field: "f2", op: "empty" }, { field: "f2", op: "is", value: 0 }] }],
  });
  assert.equal(completeFilter({ and: [{ field: "f1", op: "is" }] }), null);
});

/** A server whose answers are given one by one. */
function scripted(...answers) {
  const calls = [];
  const batch = (_table, operations, key) => {
    calls.push({ operations: structuredClone(operations), key });
    const answer = answers.shift();
    if (answer instanceof Error) return Promise.reject(answer);
    return Promise.resolve({ rev: calls.length, outcomes: answer(operations) });
  };
  return { calls, batch };
}

const stored = (operations) =>
  operations.map(({ rowId }) => ({ row: { id: rowId ?? 9, version: 2, values: {} } }));

test("edits stay and are sent again under the same key while there is no connection", async () => {
  const api = scripted(Object.assign(new Error(), { code: "network" }), stored);
  const edits = new Edits(api, 1);
  const done = edits.change([{ rowId: 7, key: "f1", was: "a", value: "b" }]);
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.ok(edits.isOffline);
  assert.equal(edits.of(7, "f1").value, "b");
  edits.retryNow();
  await done;
  assert.equal(api.calls.length, 2);
  assert.equal(api.calls[0].key, api.calls[1].key);
  assert.ok(!edits.isOffline);
  assert.equal(edits.of(7, "f1"), undefined);
});

test("a conflict is kept for its cell alone, and can be written over", async () => {
  const api = scripted(() => [{ conflicts: { f1: "theirs" } }], stored);
  const edits = new Edits(api, 1);
  await edits.change([
    { rowId: 7, key: "f1", was: "a", value: "mine" },
    { rowId: 7, key: "f2", was: 1, value: 2 },
  ]);
  const [conflict] = edits.problems;
  assert.equal(conflict.state, "conflict");
  assert.equal(conflict.current, "theirs");
  assert.equal(edits.of(7, "f2"), undefined);
  await edits.overwrite(conflict);
  assert.equal(api.calls[1].operations[0].edits[0].was, "theirs");
  assert.equal(edits.problems.length, 0);
});

test("a thousand rows are one request, more are several, and equal values are none", async () => {
  const api = scripted(stored, stored);
  const edits = new Edits(api, 1);
  const cells = Array.from({ length: 1001 }, (_, index) => ({
    rowId: index + 1,
    key: "f1",
    was: null,
    value: "x",
  }));
  await edits.change(cells);
  assert.deepEqual(api.calls.map(({ operations }) => operations.length), [1000, 1]);
  await edits.change([{ rowId: 1, key: "f1", was: "x", value: "x" }]);
  assert.equal(api.calls.length, 2);
});

test("what is pasted at once is one gesture, however many requests it takes", async () => {
  const api = scripted(stored, stored, stored);
  const edits = new Edits(api, 1);
  const text = "字".repeat(200_000);
  const cells = [1, 2].map((rowId) => ({ rowId, key: "f1", was: null, value: text }));
  const outcomes = await edits.change(cells, [{ f1: "new" }]);
  assert.deepEqual(api.calls.map(({ operations }) => operations.map(({ kind }) => kind)), [
    ["update"],
    ["update", "create"],
  ]);
  assert.equal(outcomes.at(-1).row.id, 9);
  assert.equal(edits.gestureOf(1), edits.gestureOf(2));
  assert.equal(edits.gestureOf(2).steps, 2);
  await edits.change([{ rowId: 1, key: "f2", was: null, value: "x" }]);
  assert.equal(edits.gestureOf(3), undefined);
});

test("edits are sent although the page of the table is left", async () => {
  const api = scripted(Object.assign(new Error(), { code: "network" }), stored);
  const edits = new Edits(api, 1);
  const done = edits.change([{ rowId: 7, key: "f1", was: "a", value: "b" }]);
  await new Promise((resolve) => setTimeout(resolve, 0));
  edits.dispose();
  edits.retryNow();
  await done;
  assert.equal(api.calls.length, 2);
});

test("a refused batch leaves its cells marked, and the next one goes on", async () => {
  const refusal = Object.assign(new Error("No."), { code: "forbidden", status: 403 });
  const api = scripted(refusal, stored);
  const edits = new Edits(api, 1);
  await assert.rejects(edits.change([{ rowId: 1, key: "f1", was: null, value: "x" }]));
  assert.equal(edits.of(1, "f1").message, "No.");
  await edits.change([{ rowId: 2, key: "f1", was: null, value: "x" }]);
  assert.equal(edits.of(2, "f1"), undefined);
});

/** A snapshot of so many rows; what is read is noted. */
function snapshotOf(count) {
  const reads = [];
  const snapshotRows = (_id, from, n) => {
    reads.push([from, n]);
    const length = Math.max(0, Math.min(n, count - from));
    return Promise.resolve(
      Array.from({ length }, (_, place) => ({ id: from + place + 1, version: 1, values: {} })),
    );
  };
  const open = () => Promise.resolve({ id: "s", count, rev: 1, groups: [] });
  return { reads, source: new RowSource({ snapshotRows }, open) };
}

test("rows are read where they are looked at, and once", async () => {
  const { reads, source } = snapshotOf(100_000);
  await source.reopen();
  assert.equal(source.length, 100_000);
  assert.equal(source.at(50_000), undefined);
  await new Promise((resolve) => source.addEventListener("rows", resolve, { once: true }));
  assert.equal(source.at(50_000).id, 50_001);
  assert.equal(source.at(50_001).id, 50_002);
  assert.deepEqual(reads, [[50_000, 100]]);
  assert.equal(source.indexOf(50_001), 50_000);
});

test("of changes elsewhere only what is in sight is read at once", async () => {
  const { reads, source } = snapshotOf(1000);
  await source.reopen();
  await source.range(0, 299);
  reads.length = 0;
  await source.refresh([5, 7, 250, 900], { top: 0, bottom: 40 });
  assert.deepEqual(reads, [[4, 3]]);
  assert.equal(source.peek(249), undefined);
  assert.equal(source.peek(150).id, 151);
});

test("rows that are made here follow at the end, deleted ones leave a gap", async () => {
  const { source } = snapshotOf(3);
  await source.reopen();
  await source.range(0, 2);
  source.add([{ id: 77, version: 1, values: { f1: "new" } }]);
  assert.equal(source.length, 4);
  assert.equal(source.at(3).id, 77);
  source.remove([2]);
  assert.equal(source.at(1), null);
  source.apply(77, { version: 2, values: { f1: "newer" } });
  assert.equal(source.at(3).values.f1, "newer");
});

test("a single condition that a program has stored is shown as a group of one", () => {
  const condition = { field: "f1", op: "is", value: false };
  assert.equal(countConditions(condition), 1);
  assert.deepEqual(asGroup(condition), { and: [condition] });
  assert.deepEqual(asGroup(null), { and: [] });
  assert.deepEqual(asGroup({ or: [condition] }), { or: [condition] });
});

/** A view that is not stored yet, and a server whose answers are given one by one. */
function openView() {
  globalThis.document ??= new EventTarget();
  const calls = [];
  const ask = (name) => (...given) => {
    const { promise, resolve, reject } = Promise.withResolvers();
    calls.push({ name, given: structuredClone(given), resolve, reject });
    return promise;
  };
  const api = { addView: ask("add"), changeView: ask("change") };
  const view = { ...EMPTY_VIEW, id: null, name: "All", is_shared: false, is_own: true };
  const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
  const kept = { left: null };
  const draft = { read: () => kept.left, write: (left) => (kept.left = structuredClone(left)) };
  return { calls, view, settled, api, kept, draft, open: new OpenView(api, 1, view, draft) };
}

test("a new view is made once, and what is changed meanwhile follows", async () => {
  const { calls, view, settled, open } = openView();
  open.change({ frozen: 1 });
  open.store();
  await settled();
  open.change({ hidden: ["f2"] });
  open.store();
  await settled();
  assert.deepEqual(calls.map(({ name }) => name), ["add"]);
  calls[0].resolve({ ...view, id: 5, frozen: 1 });
  await settled();
  assert.deepEqual(calls[1].given, [5, { hidden: ["f2"] }]);
  calls[1].resolve({ ...view, id: 5 });
  // Left before it rests: sent at once.
  open.change({ frozen: 2 });
  globalThis.dispatchEvent(new Event("pagehide"));
  await settled();
  assert.deepEqual(calls[2].given, [5, { frozen: 2 }]);
  calls[2].resolve({ ...view, id: 5 });
});

test("a view that could not be sent is the same when it is sent again", async () => {
  const { calls, view, settled, open } = openView();
  open.change({ frozen: 1 });
  open.store();
  await settled();
  calls[0].reject(Object.assign(new Error(), { code: "network" }));
  await settled();
  open.change({ hidden: ["f2"] });
  open.store();
  await settled();
  assert.deepEqual(calls[1].given, calls[0].given);
  calls[1].resolve({ ...view, id: 5 });
  await settled();
  assert.deepEqual(calls[2].given[1].hidden, ["f2"]);
  calls[2].resolve({ ...view, id: 5 });
  await settled();
  assert.equal(calls.length, 3);
});

test("what follows a new view is stored although the page is left while it is on its way", async () => {
  const { calls, view, settled, open, api, kept, draft } = openView();
  open.change({ frozen: 1 });
  open.store();
  await settled();
  open.change({ hidden: ["f2"] });
  globalThis.dispatchEvent(new Event("pagehide"));
  const { key } = kept.left.creation;
  // The page is opened again; its first request has arrived.
  const finished = finishLeftView(api, 1, draft);
  assert.deepEqual(calls[1], { ...calls[1], name: "add", given: [1, calls[0].given[1], key] });
  calls[1].resolve({ ...view, id: 5, frozen: 1 });
  await settled();
  assert.deepEqual(calls[2].given, [5, { hidden: ["f2"] }]);
  calls[2].resolve({ ...view, id: 5 });
  await finished;
  assert.equal(kept.left, null);
  // Without a connection it is kept for later, and what is refused is not.
  kept.left = { id: null, creation: { key, body: {} }, changes: {} };
  for (const [status, isKept] of [[0, true], [404, false]]) {
    const again = finishLeftView(api, 1, draft);
    calls.at(-1).reject(Object.assign(new Error(), { status, code: status ? "" : "network" }));
    await again;
    assert.equal(kept.left !== null, isKept);
  }
});

test("a new view of which nothing was sent before the page is left is finished by the next", async () => {
  const { calls, view, settled, open, api, kept, draft } = openView();
  open.change({ frozen: 2 });
  open.change({ frozen: 1 });
  // At once: no code of the page may run again.
  assert.equal(kept.left.creation.body.frozen, 1);
  globalThis.dispatchEvent(new Event("pagehide"));
  assert.deepEqual(kept.left.changes, {});
  const finished = finishLeftView(api, 1, draft);
  await settled();
  // By both pages, as one.
  assert.deepEqual(calls.map(({ name }) => name), ["add", "add"]);
  assert.deepEqual(calls[0].given, calls[1].given);
  for (const call of calls) call.resolve({ ...view, id: 5, frozen: 1 });
  await finished;
  await settled();
  assert.equal(calls.length, 2);
  assert.equal(kept.left, null);
});

test("a new view whose first request is being answered is asked for again", async () => {
  const { calls, view, settled, api, kept, draft } = openView();
  kept.left = { id: null, creation: { key: "k", body: {} }, changes: { frozen: 1 } };
  const finished = finishLeftView(api, 1, draft);
  const running = { status: 409, code: "conflict", retryAfterSeconds: 0 };
  calls[0].reject(Object.assign(new Error(), running));
  while (calls.length < 2) await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(calls[1].given, calls[0].given);
  calls[1].resolve({ ...view, id: 5 });
  await settled();
  assert.deepEqual(calls[2].given, [5, { frozen: 1 }]);
  calls[2].resolve({ ...view, id: 5, frozen: 1 });
  await finished;
  assert.equal(kept.left, null);
});

test("changes on their way when the page is left are sent again by the next", async () => {
  const { calls, view, settled, api, kept, draft } = openView();
  const open = new OpenView(api, 1, { ...view, id: 5 }, draft);
  open.change({ frozen: 1 });
  open.store();
  await settled();
  open.change({ hidden: ["f2"] });
  globalThis.dispatchEvent(new Event("pagehide"));
  const all = { frozen: 1, hidden: ["f2"] };
  assert.deepEqual(kept.left, { id: 5, creation: null, changes: all });
  const finished = finishLeftView(api, 1, draft);
  await settled();
  assert.deepEqual(calls.map(({ given }) => given[1]), [{ frozen: 1 }, { hidden: ["f2"] }, all]);
  for (const call of calls) call.resolve({ ...view, id: 5 });
  await finished;
  await settled();
  assert.equal(kept.left, null);
});

test("the first of two requests that ends leaves what the other one stores to be finished", async () => {
  const { calls, view, settled, api, kept, draft, open: other } = openView();
  await other.dispose();
  const open = new OpenView(api, 1, { ...view, id: 5 }, draft);
  open.change({ hidden: ["f2"] });
  open.store();
  await settled();
  open.change({ frozen: 1 });
  globalThis.dispatchEvent(new Event("pagehide"));
  calls[0].resolve({ ...view, id: 5 });
  await settled();
  assert.equal(kept.left.changes.frozen, 1);
  calls[1].resolve({ ...view, id: 5 });
  await settled();
  assert.equal(kept.left, null);
});

test("a view that is stored leaves nothing to be finished", async () => {
  const { calls, view, settled, open, kept } = openView();
  open.change({ frozen: 1 });
  open.store();
  await settled();
  open.change({ hidden: ["f2"] });
  globalThis.dispatchEvent(new Event("pagehide"));
  assert.deepEqual(kept.left.changes, { hidden: ["f2"] });
  // It was only put aside.
  calls[0].resolve({ ...view, id: 5 });
  await settled();
  calls[1].resolve({ ...view, id: 5 });
  await settled();
  assert.equal(kept.left, null);
});

test("a field is put beside another one, whether fields between are hidden or not", () => {
  const { open } = openView();
  const fields = ["f1", "f2", "f3"].map((key) => ({ key }));
  open.moveBeside(fields, "f3", "f1", false);
  assert.deepEqual(open.state.order, ["f3", "f1", "f2"]);
  open.change({ hidden: ["f1"] });
  open.move(fields, "f3", 1);
  assert.deepEqual(open.fieldsShown(fields).map(({ key }) => key), ["f2", "f3"]);
});
