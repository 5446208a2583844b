/** One answer on the page: how its task stands, its reasoning, its text, its end. */

import { copyButton } from "./copy.js";
import { h, icon, setText } from "./dom.js";
import { explain } from "./errors.js";
import { renderMarkdown } from "./markdown.js";
import { isActive } from "./reducer.js";

/** Of the main thread, rendering a growing answer takes at most one part in this many. */
const RENDER_SHARE = 4;

/**
 * @typedef {import("./reducer.js").TaskState} TaskState
 * @typedef {HTMLElement & {show: (task: TaskState|null) => void}} AnswerElement
 */

/**
 * @param {object} options
 * @param {Set<string>} options.simulatedModels
 * @param {() => void} options.onRetry asked for after an answer that failed or was stopped
 * @param {() => void} options.onRendered after each change of what is seen
 * @returns {AnswerElement} `show(null)` means: not accepted by the server yet
 */
export function createAnswer({ simulatedModels, onRetry, onRendered }) {
  let task = null;
  const parts = createParts(() => task?.text ?? "", onRetry);
  const article = h(
    "article",
    { class: "answer", "aria-label": "Answer" },
    ...Object.values(parts),
  );
  const scheduleText = throttled(() => {
    renderMarkdown(parts.text, task.text);
    if (task.reasoning) renderMarkdown(parts.reasoning.lastElementChild, task.reasoning);
    onRendered();
  });
  article.show = (next) => {
    task = next;
    const active = !task || isActive(task);
    article.setAttribute("aria-busy", String(active));
    article.classList.toggle("streaming", active && Boolean(task?.text));
    showStatus(parts.status, task);
    showReasoning(parts.reasoning, task);
    showEnd(parts.end, task);
    showFooter(parts.footer, task, simulatedModels);
    if (task) scheduleText();
  };
  return article;
}

function createParts(textOf, onRetry) {
  return {
    status: h("p", { class: "answer-status" }),
    reasoning: h(
      "details",
      { class: "reasoning", hidden: true },
      h("summary"),
      h("div", { class: "md" }),
    ),
    text: h("div", { class: "md answer-text" }),
    end: createEnd(onRetry),
    footer: h(
      "footer",
      { class: "answer-footer", hidden: true },
      copyButton(textOf, "Copy answer"),
      h("span", { class: "answer-model" }),
      h(
        "span",
        { class: "badge simulated", title: "Made up by the simulator: no provider was asked" },
        "Simulated",
      ),
      h("span", { class: "badge attempt" }),
      h("span", { class: "answer-usage" }),
    ),
  };
}

function createEnd(onRetry) {
  const retry = h(
    "button",
    { type: "button", class: "button small", onclick: onRetry },
    icon("retry"),
    "Try again",
  );
  return h("div", { class: "answer-end", hidden: true }, h("strong"), h("p"), h("code"), retry);
}

function showStatus(element, task) {
  const text = statusText(task);
  element.hidden = text === "";
  setText(element, text);
}

/** @param {TaskState|null} task @returns {string} empty once there is something to read */
export function statusText(task) {
  if (!task) return "Sending…";
  if (task.status === "queued") {
    if (task.attempt > 0) return "Waiting for another try…";
    const place = task.position === null ? "" : ` · place ${task.position}`;
    const eta =
      task.etaSeconds === null ? "" : ` · about ${Math.max(1, Math.round(task.etaSeconds))} s`;
    return `In the queue${place}${eta}`;
  }
  if (task.status !== "running" || task.text) return "";
  return task.reasoning ? "Thinking…" : "Waiting for the first words…";
}

function showReasoning(element, task) {
  element.hidden = !task?.reasoning;
  const thinking = task && isActive(task) && !task.text;
  setText(element.firstElementChild, thinking ? "Reasoning…" : "Reasoning");
}

function showEnd(element, task) {
  const end = task && endOf(task);
  element.hidden = !end;
  if (!end) return;
  const [title, help, code] = element.children;
  element.classList.toggle("failed", task.status === "failed");
  setText(title, end.title);
  setText(help, end.help);
  setText(code, end.code ?? "");
  code.hidden = !end.code;
}

function endOf(task) {
  if (task.status === "failed") return { ...explain(task.error), code: task.error.code };
  if (task.status === "cancelled")
    return { title: "Stopped", help: "You stopped this answer. What had come is kept." };
  if (task.status === "expired")
    return { title: "Out of time", help: "The answer did not come before its deadline." };
  if (task.finishReason === "length")
    return { title: "Cut off", help: "The answer reached its greatest length." };
  return null;
}

function showFooter(element, task, simulatedModels) {
  const [copy, model, simulated, attempt, usage] = element.children;
  element.hidden = !task || (isActive(task) && !task.model);
  if (element.hidden) return;
  copy.hidden = isActive(task) || !task.text;
  setText(model, task.model);
  simulated.hidden = !simulatedModels.has(task.model);
  attempt.hidden = task.attempt < 2;
  setText(attempt, `Attempt ${task.attempt}`);
  const tokens = task.usage.completion_tokens;
  setText(usage, tokens ? `${tokens.toLocaleString()} tokens` : "");
}

/** @param {() => void} render @returns {() => void} runs it in a frame to come, at its share */
function throttled(render) {
  let planned = false;
  let notBefore = 0;
  const frame = (now) => {
    if (now < notBefore) return requestAnimationFrame(frame);
    planned = false;
    const start = performance.now();
    render();
    notBefore = start + (performance.now() - start) * RENDER_SHARE;
  };
  return () => {
    if (planned) return;
    planned = true;
    requestAnimationFrame(frame);
  };
}
