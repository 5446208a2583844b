import assert from "node:assert/strict";
import { test } from "node:test";

import { newestBy, PagedCollection } from "../../static/js/store/paged.js";

/** A server's list, newest first, whose pages have at most `limit` items. */
function serverOf(count, { short = Infinity } = {}) {
  const server = {
    reads: [],
    items: Array.from({ length: count }, (_, n) => item(count - n)),
    read(limit, offset) {
      server.reads.push([limit, offset]);
      const items = server.items.slice(offset, offset + Math.min(limit, short));
      return Promise.resolve({ items, count: server.items.length });
    },
  };
  return server;
}

const item = (n) => ({ id: String(n).padStart(4, "0") });
const idsOf = ({ items }) => items.map(({ id }) => id);

function listOf(server) {
  return new PagedCollection({
    read: server.read,
    keyOf: ({ id }) => id,
    compare: newestBy("id"),
  });
}

async function loadAll(list) {
  await list.loadFirst();
  while (list.hasMore) await list.loadMore();
}

test("a list of more than a page is read page by page, each once", async () => {
  const server = serverOf(250);
  const list = listOf(server);
  await loadAll(list);
  assert.deepEqual(idsOf(list), idsOf(server));
  assert.deepEqual(server.reads, [[100, 0], [100, 99], [100, 198]]);
});

test("pages that end early, as their rows are large, leave nothing out", async () => {
  const server = serverOf(23, { short: 5 });
  const list = listOf(server);
  await loadAll(list);
  assert.deepEqual(idsOf(list), idsOf(server));
});

test("items that come while it is read are in it once", async () => {
  const server = serverOf(250);
  const list = listOf(server);
  await list.loadFirst();
  for (let n = 251; n <= 400; n++) server.items.unshift(item(n));
  while (list.hasMore) await list.loadMore();
  const old = idsOf(server).filter((id) => id <= "0250");
  assert.deepEqual(idsOf(list).filter((id) => id <= "0250"), old);
  assert.equal(new Set(idsOf(list)).size, list.items.length);
});

test("items that are removed elsewhere while it is read hide no others", async () => {
  const server = serverOf(250);
  const list = listOf(server);
  await list.loadFirst();
  server.items.splice(20, 60);
  while (list.hasMore) await list.loadMore();
  for (const { id } of server.items) assert.ok(list.get(id), id);
});

test("reading the first page again takes away what was removed elsewhere", async () => {
  const server = serverOf(150);
  const list = listOf(server);
  await loadAll(list);
  server.items.splice(3, 1);
  await list.loadFirst();
  assert.deepEqual(idsOf(list), idsOf(server));
  assert.equal(list.hasMore, false);
});

test("a first page without anything known leaves no gap before the older ones", async () => {
  const server = serverOf(150);
  const list = listOf(server);
  await loadAll(list);
  for (let n = 151; n <= 300; n++) server.items.unshift(item(n));
  await list.loadFirst();
  assert.deepEqual(idsOf(list), idsOf(server).slice(0, 100));
  while (list.hasMore) await list.loadMore();
  assert.deepEqual(idsOf(list), idsOf(server));
});

test("a changed item moves to its new place, a removed one is gone", () => {
  const list = listOf(serverOf(0));
  let changes = 0;
  list.addEventListener("change", () => changes++);
  for (const n of [1, 3, 2]) list.upsert(item(n));
  assert.deepEqual(idsOf(list), ["0003", "0002", "0001"]);
  list.remove("0003");
  list.remove("0003");
  assert.deepEqual(idsOf(list), ["0002", "0001"]);
  assert.equal(changes, 4);
});

test("asked for more twice, it reads one page", async () => {
  const server = serverOf(250);
  const list = listOf(server);
  await list.loadFirst();
  await Promise.all([list.loadMore(), list.loadMore()]);
  assert.equal(server.reads.length, 2);
});
