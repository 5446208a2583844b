// Asks one question over aily's WebSocket and prints the answer as it comes, through lost
// connections. No dependencies: Node 22 or newer, or Node 20 with --experimental-websocket.
//
//     AILY_KEY=... node client.mjs "A queue is a promise: what is accepted will have its turn."

import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

// Close codes after which connecting again would change nothing (chat/PROTOCOL.md).
const FINAL_CLOSE_CODES = new Set([1009, 4400, 4401, 4429]);
const RETRYABLE_ERRORS = new Set([
  'unavailable',
  'busy',
  'rate_limited',
  'queue_full',
  'too_many_in_flight',
]);
const TERMINAL_TYPES = new Set(['task.completed', 'task.failed', 'task.cancelled', 'task.expired']);
// A dead network says nothing: a socket that is silent for longer than this is given up.
const SILENCE_MS = 15_000;

export class AilyError extends Error {
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.code = code;
  }
}

/**
 * Submit a task and return the text of its answer.
 *
 * @param {object} task what `task.submit` takes: scene and variables, or messages
 * @param {object} options url, key; onText is called with all of the text so far, again and again;
 *   silenceMs bounds the silence of a socket, giveUpMs the time without a connection
 */
export async function ask(task, options) {
  const { giveUpMs = 300_000 } = options;
  // The key makes it safe to submit again: the server then gives the same task.
  const state = {
    first: { type: 'task.submit', idempotency_key: randomUUID(), ...task },
    taskId: null,
    text: '',
  };
  let failures = 0;
  let lastSuccessAt = Date.now();
  for (;;) {
    const end = await oneConnection(state, options);
    if (end.frame) return textOf(end.frame, state);
    if (FINAL_CLOSE_CODES.has(end.code)) {
      throw new AilyError(`close_${end.code}`, 'the server refuses this client');
    }
    if (end.wasUseful) {
      failures = 0;
      lastSuccessAt = Date.now();
    }
    if (Date.now() - lastSuccessAt > giveUpMs) {
      throw new AilyError(end.reason ?? 'unreachable', `given up after ${giveUpMs / 1000} s`);
    }
    // Grows and varies: thousands of clients must not come back in the same moment.
    const pause = Math.min(250 * 2 ** failures++, 10_000) * (0.5 + Math.random() / 2);
    await new Promise((resolve) => setTimeout(resolve, Math.max(pause, end.retryAfterMs ?? 0)));
  }
}

/**
 * Follow the task on one socket. Resolves with `frame`, the task's end, or with the close code or the
 * error that ended the socket, and whether it had been of use: then reconnecting starts afresh.
 */
function oneConnection(state, { url, key, onText = () => {}, silenceMs = SILENCE_MS }) {
  return new Promise((resolve, reject) => {
    // Browsers' WebSockets have no headers: the key travels as a subprotocol, never in the URL.
    const socket = new WebSocket(url, ['aily.v1', `aily.bearer.${key}`]);
    const openedAt = Date.now();
    let lastMessageAt = openedAt;
    let framesOfTask = 0;
    const pingTimer = setInterval(() => {
      if (Date.now() - lastMessageAt > silenceMs) finish(resolve, { code: 1006 });
      else if (socket.readyState === WebSocket.OPEN) socket.send('{"type": "ping"}');
    }, silenceMs / 3);
    const finish = (settle, value) => {
      clearInterval(pingTimer);
      socket.onmessage = null;
      socket.close(); // not waited for: a dead network would not let it end
      const wasUseful = framesOfTask > 0 || lastMessageAt - openedAt > silenceMs;
      settle(value instanceof Error ? value : { ...value, wasUseful });
    };
    socket.onopen = () => socket.send(JSON.stringify(state.first));
    socket.onclose = (event) => finish(resolve, { code: event.code });
    socket.onerror = () => {}; // a close event follows
    socket.onmessage = (message) => {
      lastMessageAt = Date.now();
      const frame = JSON.parse(message.data);
      if (frame.type === 'error') {
        const { code, message: reason, retry_after_seconds: seconds } = frame.error;
        if (!RETRYABLE_ERRORS.has(code)) finish(reject, new AilyError(code, reason));
        else finish(resolve, { reason: code, retryAfterMs: 1000 * (seconds ?? 1) });
      } else if (isOfTask(frame, state)) {
        framesOfTask += 1;
        if (apply(frame, state, onText)) finish(resolve, { frame });
      }
    };
  });
}

/** Tell the task's frames from `hello`, `pong`, and events of other tasks of this user. */
function isOfTask(frame, state) {
  return frame.type === 'task.accepted' ||
    (state.taskId !== null && frame.task_id === state.taskId);
}

/** Take a frame of the task into the state. Returns whether it is the task's end. */
function apply(frame, state, onText) {
  if (frame.type === 'task.accepted') {
    state.taskId = frame.task_id;
    // From now on a new connection does not submit, but goes on after the last event seen.
    state.first = { type: 'task.subscribe', task_id: frame.task_id };
  }
  if (frame.id) state.first.after = frame.id;
  if (frame.type === 'task.started') state.text = ''; // a new attempt begins its own text
  if (frame.type === 'task.snapshot') state.text = frame.text;
  if (frame.type === 'task.delta') state.text += frame.text;
  if (frame.type === 'task.delta' || frame.type === 'task.snapshot') onText(state.text);
  return TERMINAL_TYPES.has(frame.type);
}

function textOf(end, state) {
  if (end.type === 'task.completed') return end.result.text ?? state.text; // null where it is very long
  throw new AilyError(end.error?.code ?? end.type, end.error?.message ?? 'the task was stopped');
}

/** Print what is new of the text; all of it on a new line where a new attempt answers otherwise. */
function printer() {
  let shown = '';
  return (text) => {
    process.stdout.write(text.startsWith(shown) ? text.slice(shown.length) : `\n${text}`);
    shown = text;
  };
}

async function main() {
  const [text] = process.argv.slice(2);
  const { AILY_KEY: key, AILY_URL: url = 'ws://127.0.0.1:8000/ws/llmchat/' } = process.env;
  if (!text || !key) throw new AilyError('usage', 'AILY_KEY=... node client.mjs "some text"');
  const print = printer();
  print(await ask({ scene: 'summarize', variables: { text } }, { url, key, onText: print }));
  process.stdout.write('\n');
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  main().then(
    () => process.exit(0),
    (error) => {
      console.error(error.message);
      process.exit(1);
    },
  );
}
