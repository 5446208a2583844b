import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { History } from "../../static/js/store/history.js";

const id = (n) => String(n).padStart(4, "0");
const PER_PAGE = 100;
let messages, tasks, requests;

/** The REST interface, as far as a conversation's history asks it. */
globalThis.fetch = (path) => {
  const url = new URL(path, "http://aily");
  const [limit, offset] = ["limit", "offset"].map((name) => Number(url.searchParams.get(name)));
  assert.ok(limit <= PER_PAGE);
  requests.push(url.pathname);
  const rows = url.pathname.endsWith("/messages") ? messages : tasks;
  const body = { items: rows.slice(offset, offset + limit), count: rows.length };
  return Promise.resolve(Response.json(body));
};

beforeEach(() => {
  requests = [];
  // Each task has a question (odd ids) and an answer (even ids), newest first.
  const numbers = Array.from({ length: 130 }, (_, n) => 130 - n);
  tasks = numbers.map((n) => ({ task_id: id(2 * n - 1), status: "succeeded" }));
  messages = numbers.flatMap((n) => [
    { id: id(2 * n), role: "assistant", content: `a${n}`, task_id: id(2 * n - 1) },
    { id: id(2 * n - 1), role: "user", content: `q${n}`, task_id: id(2 * n - 1) },
  ]);
});

test("a chat of more than a page has its newest messages first, and then all", async () => {
  const history = new History("c");
  await history.loadNewest();
  assert.equal(history.messages.length, 100);
  assert.equal(history.messages.at(-1).content, "a130");
  assert.equal(requests.length, 2);
  while (history.hasOlder) await history.loadOlder();
  assert.deepEqual(history.messages, messages.toReversed());
  assert.deepEqual(history.tasks, tasks);
});

test("the tasks reach back as far as the messages do", async () => {
  // Many attempts failed, whose questions left the conversation.
  const failed = Array.from({ length: 250 }, (_, n) => ({ task_id: `0260-${id(250 - n)}` }));
  tasks = [...failed, ...tasks];
  const history = new History("c");
  await history.loadNewest();
  const oldest = history.messages[0].id;
  assert.ok(history.tasks.at(-1).task_id <= oldest);
});

test("what was sent is there at once, and once when it was read again", async () => {
  const history = new History("c");
  await history.loadNewest();
  history.accept("0261", "new", "0259");
  const [last] = history.messages.slice(-1);
  assert.deepEqual([last.content, last.task_id], ["new", "0261"]);
  assert.ok(!history.messages.some(({ task_id }) => task_id === "0259"));
  messages.splice(0, 2, { id: "0262", role: "user", content: "new", task_id: "0261" });
  await history.loadNewest();
  assert.equal(history.messages.filter(({ content }) => content === "new").length, 1);
});
