import assert from "node:assert/strict";
import { test } from "node:test";

import { compareEventIds, follows, newTask, reduce } from "../../static/js/client/task_state.js";
import {
  buildTurns,
  questionAndAnswer,
  withCut,
  withoutTask,
} from "../../static/js/pages/chat/turns.js";

const TASK = "0198";
const started = (attempt) => ({
  type: "task.started",
  task_id: TASK,
  id: `${attempt}-1`,
  attempt,
  model: "m",
});
const delta = (id, text, reasoning = "") => ({
  type: "task.delta",
  task_id: TASK,
  id,
  text,
  reasoning,
});
const completed = (id, text) => ({
  type: "task.completed",
  task_id: TASK,
  id,
  result: { text, reasoning: "", finish_reason: "stop", tool_calls: [] },
  usage: { completion_tokens: 3 },
});
const RUN = [
  started(1),
  delta("1-2", "", "hm"),
  delta("1-3", "Hel"),
  delta("1-4", "lo"),
  completed("1-5", "Hello"),
];

function play(frames, task = newTask(TASK)) {
  const outcomes = frames.map((frame) => {
    const result = reduce(task, frame);
    task = result.task;
    return result.outcome;
  });
  return { task, outcomes };
}

test("deltas in order become the text", () => {
  const { task } = play(RUN.slice(0, 4));
  assert.deepEqual(
    [task.text, task.reasoning, task.model, task.cursor],
    ["Hello", "hm", "m", "1-4"],
  );
  assert.equal(task.status, "running");
});

test("a stream cut after any event and replayed from any earlier one gives the same state", () => {
  const whole = play(RUN).task;
  for (let cut = 0; cut <= RUN.length; cut++) {
    for (let replayed = 0; replayed <= cut; replayed++) {
      const { task } = play(RUN.slice(replayed), play(RUN.slice(0, cut)).task);
      assert.deepEqual(task, whole, `cut after ${cut}, replayed from ${replayed}`);
    }
  }
});

test("an event that does not follow is reported as a gap and changes nothing", () => {
  const { task } = play(RUN.slice(0, 2));
  const { task: after, outcome } = reduce(task, delta("1-4", "lo"));
  assert.equal(outcome, "gap");
  assert.equal(after, task);
});

test("a delta before any start is a gap, too", () => {
  assert.equal(reduce(newTask(TASK), delta("1-2", "x")).outcome, "gap");
});

test("a new attempt drops the text so far", () => {
  const { task } = play([...RUN.slice(0, 4), started(2), delta("2-2", "Bye")]);
  assert.deepEqual([task.text, task.reasoning, task.attempt], ["Bye", "", 2]);
});

test("late events of an earlier attempt are ignored", () => {
  const { task, outcomes } = play([...RUN.slice(0, 3), started(2), delta("1-4", "lo")]);
  assert.equal(outcomes.at(-1), "ignored");
  assert.equal(task.text, "");
});

test("a snapshot replaces the text whatever is missing before it", () => {
  const snapshot = {
    type: "task.snapshot",
    task_id: TASK,
    id: "2-9",
    text: "all of it",
    reasoning: "",
  };
  const { task, outcomes } = play([...RUN.slice(0, 3), snapshot, delta("2-10", ".")]);
  assert.deepEqual(outcomes.slice(-2), ["applied", "applied"]);
  assert.equal(task.text, "all of it.");
});

test("the end of a success brings the whole text, whatever was missed", () => {
  const { task } = play([started(1), completed("1-5", "Hello")]);
  assert.deepEqual([task.text, task.status, task.finishReason], ["Hello", "succeeded", "stop"]);
});

test("nothing changes a task that has ended", () => {
  const { task } = play(RUN);
  for (
    const frame of [
      started(2),
      delta("1-6", "x"),
      { type: "task.queued", position: 1, eta_seconds: null },
    ]
  ) {
    assert.deepEqual(reduce(task, frame), { task, outcome: "ignored" });
  }
});

test("cancelling keeps the text, failing brings its error", () => {
  const cancelled = play([
    ...RUN.slice(0, 3),
    { type: "task.cancelled", task_id: TASK, id: "1-4" },
  ]).task;
  assert.deepEqual([cancelled.text, cancelled.status], ["Hel", "cancelled"]);
  const error = { code: "provider_empty", message: "" };
  const failed = play([started(1), { type: "task.failed", task_id: TASK, id: "1-2", error }]).task;
  assert.deepEqual([failed.status, failed.error], ["failed", error]);
});

test("a task sent back to the queue waits again, and a late acceptance changes nothing", () => {
  const queued = { type: "task.queued", task_id: TASK, position: 4, eta_seconds: 2.5 };
  const waiting = play([started(1), queued]).task;
  assert.deepEqual([waiting.status, waiting.position, waiting.etaSeconds], ["queued", 4, 2.5]);
  assert.equal(play([started(1), { ...queued, type: "task.accepted" }]).task.status, "running");
});

test("event ids are compared as numbers", () => {
  assert.ok(compareEventIds("1-9", "1-10") < 0);
  assert.ok(compareEventIds("10-1", "9-99") > 0);
  assert.equal(follows("1-10", "1-9"), true);
  assert.equal(follows("2-2", "1-9"), false);
});

test("turns show a question with its running task, and a stored answer once", () => {
  const running = { ...newTask("t2"), status: "running" };
  const done = { ...newTask("t1"), status: "succeeded", model: "m" };
  const tasks = new Map([
    ["t1", done],
    ["t2", running],
  ]);
  const turns = buildTurns(
    [
      { id: "a", role: "user", content: "one?", task_id: "t1" },
      { id: "b", role: "assistant", content: "one.", task_id: "t1" },
      { id: "c", role: "user", content: "two?", task_id: "t2" },
      { id: "d", role: "assistant", content: "of a task that is gone", task_id: null },
    ],
    tasks,
  );
  assert.deepEqual(
    turns.map(({ role, content, task }) => [role, content ?? task.text]),
    [
      ["question", "one?"],
      ["answer", "one."],
      ["question", "two?"],
      ["answer", ""],
      ["answer", "of a task that is gone"],
    ],
  );
  assert.equal(turns[1].task.model, "m");
  assert.equal(turns[3].task, running);
  assert.equal(new Set(turns.map(({ key }) => key)).size, turns.length);
});

test("a snapshot in pieces replaces the text, and its last piece moves the cursor", () => {
  const piece = (type, text) => ({ type, task_id: TASK, text, reasoning: "" });
  const frames = [
    ...RUN.slice(0, 3),
    piece("task.snapshot", "One "),
    piece("task.delta", "two "),
    delta("1-9", "three"),
    delta("1-10", " four"),
  ];
  const { task, outcomes } = play(frames);
  assert.deepEqual(outcomes, frames.map(() => "applied"));
  assert.deepEqual([task.text, task.cursor], ["One two three four", "1-10"]);
  // Cut off in between, it goes on after the last id, and the snapshot comes anew.
  const cut = play(frames.slice(0, 5)).task;
  assert.equal(cut.cursor, "1-3");
  assert.equal(play(frames.slice(3), cut).task.text, "One two three four");
});

test("an end without its text keeps what has come", () => {
  const end = { ...completed("1-5", null), is_truncated: true };
  end.result.reasoning = null;
  const { task } = play([...RUN.slice(0, 4), end]);
  assert.deepEqual(
    [task.status, task.text, task.reasoning, task.isCut],
    ["succeeded", "Hello", "hm", true],
  );
});

const said = (id, role, content, task_id) => ({ id, role, content, task_id });
const ended = (id, historyFrom = null) => ({ ...newTask(id), status: "succeeded", historyFrom });
const shown = (turns) => turns.map(({ role, content, task }) => content ?? task?.text ?? role);

test("an answer stored after a later question is shown after its own", () => {
  const tasks = new Map([
    ["t1", { ...newTask("t1"), status: "cancelled" }],
    ["t2", ended("t2")],
  ]);
  const turns = buildTurns(
    [
      said("a", "user", "one?", "t1"),
      said("b", "user", "two?", "t2"),
      said("c", "assistant", "on", "t1"),
      said("d", "assistant", "two.", "t2"),
    ],
    tasks,
  );
  assert.deepEqual(shown(turns), ["one?", "on", "two?", "two."]);
  assert.equal(turns[1].task.status, "cancelled");
});

test("answers that call tools show what they call, and results are not shown", () => {
  const call = { id: "c", type: "function", function: { name: "weather", arguments: "{}" } };
  const turns = buildTurns(
    [
      said("a", "user", "how is it?", "t1"),
      { ...said("b", "assistant", "", "t1"), tool_calls: [call] },
      said("c", "tool", "sunny", "t2"),
      said("d", "assistant", "It is sunny.", "t2"),
    ],
    new Map(),
  );
  assert.deepEqual(shown(turns), ["how is it?", "Calls `weather`.", "It is sunny."]);
});

test("a line is shown before the first question that was sent last", () => {
  const messages = ["a", "b", "c"].flatMap((id) => [
    said(`${id}1`, "user", `${id}?`, `t${id}`),
    said(`${id}2`, "assistant", `${id}.`, `t${id}`),
  ]);
  const turnsOf = (...froms) =>
    buildTurns(
      messages,
      new Map(froms.map((from, n) => [`t${"abc"[n]}`, ended(`t${"abc"[n]}`, from)])),
    );
  assert.deepEqual(shown(withCut(turnsOf(null, null, null))).length, 6);
  const cut = withCut(turnsOf(null, "a1", "b1"));
  assert.deepEqual(cut.map(({ role }) => role).indexOf("cut"), 2);
  assert.equal(cut.length, 7);
  // What an earlier task was sent does not count, nor does a cut above what is shown.
  assert.equal(withCut(turnsOf(null, "b1", null)).length, 6);
  assert.equal(withCut(turnsOf(null, null, "a1")).length, 6);
  // Of questions asked a moment ago the ids of their tasks are known, which are made next.
  const live = ["01", "03", "05"].flatMap((id, n) =>
    questionAndAnswer(`${id}?`, ended(id, ["00", "00", "02"][n]))
  );
  assert.equal(withCut(live).findIndex(({ role }) => role === "cut"), 2);
  assert.equal(withCut([...live, ...questionAndAnswer("07?", null)]).length, 9);
});

test("asking again takes the question and its answer away", () => {
  const failed = { ...newTask("t1"), status: "failed" };
  const turns = buildTurns(
    [
      said("a", "user", "one?", "t1"),
      said("b", "user", "two?", "t2"),
      said("c", "assistant", "two.", "t2"),
    ],
    new Map([["t1", failed], ["t2", ended("t2")]]),
  );
  assert.deepEqual(shown(withoutTask(turns, "t1")), ["two?", "two."]);
  assert.deepEqual(shown(withoutTask(turns, "t2")), ["one?", ""]);
});

// --- Calls of tools -----------------------------------------------------------------------------
const call = (id, fields = {}) => ({
  type: "task.tool_call",
  task_id: TASK,
  id,
  call_id: "c1",
  step: 1,
  tool: "clock",
  server: "demo",
  arguments: "{}",
  state: "running",
  ...fields,
});
const asked = (id, fields = {}) => {
  const { state: _, ...others } = call(id, fields);
  return { ...others, type: "task.requires_action", deadline: "2026-11-30T12:00:00Z" };
};
const answered = (id, fields = {}) => ({
  type: "task.tool_result",
  task_id: TASK,
  id,
  call_id: "c1",
  is_error: false,
  text: "noon",
  duration_seconds: 0.2,
  ...fields,
});

test("a call of a tool is kept with its arguments, its result and how long it took", () => {
  const frames = [started(1), call("1-2"), answered("1-3"), delta("1-4", "It is noon.")];
  const { task, outcomes } = play(frames);
  assert.deepEqual(outcomes, ["applied", "applied", "applied", "applied"]);
  const [found] = task.calls;
  assert.equal(task.calls.length, 1);
  assert.deepEqual(
    [found.tool, found.server, found.state, found.text, found.durationSeconds],
    ["clock", "demo", "succeeded", "noon", 0.2],
  );
  assert.equal(task.text, "It is noon.");
});

test("a task waits for its user while any of its calls does", () => {
  const other = { call_id: "c2", tool: "pay" };
  const begun = [started(1), call("1-2"), asked("1-3", other)];
  assert.equal(play(begun).task.status, "requires_action");
  const { task } = play([...begun, answered("1-4")]);
  assert.equal(task.status, "requires_action");
  assert.deepEqual(task.calls.map(({ state }) => state), ["succeeded", "requires_action"]);
  const approved = play([call("1-5", { ...other, arguments: '{"sum":2}' })], task).task;
  assert.equal(approved.status, "calling_tools");
  assert.equal(approved.calls[1].arguments, '{"sum":2}');
});

test("a result with an error is a failed call, and calls outlive a new attempt", () => {
  const failed = [started(1), call("1-2"), answered("1-3", { is_error: true, text: "down" })];
  const { task } = play([...failed, started(2), delta("2-2", "Sorry")]);
  assert.deepEqual(task.calls.map(({ state, text }) => [state, text]), [["failed", "down"]]);
  assert.equal(task.text, "Sorry");
});

test("a snapshot brings the calls that its reader has missed", () => {
  const snapshot = {
    type: "task.snapshot",
    task_id: TASK,
    id: "1-7",
    text: "It is",
    reasoning: "",
    tool_calls: [{ ...answered("1-3"), tool: "clock", state: "succeeded", step: 1 }],
  };
  const { task, outcomes } = play([snapshot]);
  assert.deepEqual(outcomes, ["applied"]);
  assert.deepEqual(task.calls.map(({ id, state }) => [id, state]), [["c1", "succeeded"]]);
});
