import assert from "node:assert/strict";
import { test } from "node:test";

import { ApiError } from "../../static/js/client/api.js";
import { newTask } from "../../static/js/client/task_state.js";
import { fromStored, Tasks } from "../../static/js/client/tasks.js";
import { withCall, withCalls, withoutOpen } from "../../static/js/client/tool_calls.js";

const ROW = {
  call_id: "c1",
  step: 2,
  tool: "pay",
  server: "shop",
  state: "requires_action",
  arguments: '{"sum": 7}',
  edited_arguments: null,
  is_truncated: false,
  text: "",
  deadline: "2026-12-01T12:00:00Z",
};

/** A followed task that asks, and what is sent for it. */
function asking(answer) {
  const socket = Object.assign(new EventTarget(), { send: () => true });
  const sent = [];
  const tasks = new Tasks(socket, (...call) => {
    sent.push(call);
    return Promise.resolve(answer(...call));
  });
  const states = [];
  tasks.addEventListener("change", ({ detail }) => states.push(detail.calls[0].state));
  tasks.follow({ ...newTask("t1"), status: "requires_action", calls: withCalls([], [ROW]) });
  const receive = (frame) =>
    socket.dispatchEvent(new CustomEvent("frame", { detail: { task_id: "t1", ...frame } }));
  return { tasks, sent, states, receive };
}

test("what a row leaves out stays as it was, and edited arguments count", () => {
  const [call] = withCall(withCalls([], [ROW]), { call_id: "c1", state: "running" });
  assert.deepEqual([call.tool, call.step, call.state, call.text], ["pay", 2, "running", null]);
  const [edited] = withCalls([call], [{ call_id: "c1", edited_arguments: '{"sum": 5}' }]);
  assert.equal(edited.arguments, '{"sum": 5}');
  assert.deepEqual(withoutOpen([edited]).map(({ state }) => state), ["cancelled"]);
});

test("a decision is sent, and its answer shown", async () => {
  const { tasks, sent, states } = asking(() => ({ ...ROW, state: "queued" }));
  await tasks.decide("t1", "c1", { decision: "approve" });
  assert.deepEqual(sent, [["POST", "/llmchat/tasks/t1/tool-calls/c1", { decision: "approve" }]]);
  assert.deepEqual(states, ["queued"]);
});

test("after a refused second answer the calls are read again", async () => {
  const { tasks, sent, states } = asking((method) => {
    if (method === "POST") throw new ApiError({ code: "conflict", status: 409 });
    return [{ ...ROW, state: "rejected" }];
  });
  await assert.rejects(tasks.decide("t1", "c1", { decision: "approve" }), { status: 409 });
  assert.deepEqual(sent.map(([method]) => method), ["POST", "GET"]);
  assert.deepEqual(states, ["rejected"]);
});

test("arguments that are cut are read whole, once, before they are decided on", async () => {
  const { tasks, sent, receive } = asking(() => ({ ...ROW, arguments: '{"sum": 70}' }));
  receive({ type: "task.started", id: "1-1", attempt: 1, model: "m" });
  for (const id of ["1-2", "1-3"]) {
    const frame = { ...ROW, arguments: '{"su', is_truncated: true, state: undefined };
    receive({ ...frame, type: "task.requires_action", id });
  }
  await new Promise((resolve) => setTimeout(resolve));
  assert.deepEqual(sent, [["GET", "/llmchat/tasks/t1/tool-calls/c1"]]);
  assert.equal(tasks.get("t1").calls[0].arguments, '{"sum": 70}');
});

test("a stored task has its calls", () => {
  const row = { task_id: "t1", status: "succeeded", attempt: 2, tool_calls: [ROW] };
  assert.deepEqual(fromStored(row).calls.map(({ id, server }) => [id, server]), [["c1", "shop"]]);
});
