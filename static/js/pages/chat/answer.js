/** One answer on the page: the state of its task, its reasoning, its text, its end. */

import { t } from "../../i18n/i18n.js";
import { html, nothing, render } from "../../lit.js";
import { parseExactly, stringify } from "../../client/json.js";
import { isActive } from "../../client/task_state.js";
import { copyButton } from "../../ui/copy.js";
import { find, setText } from "../../ui/dom.js";
import { icon } from "../../ui/icons.js";
import { explain } from "../../ui/notice.js";
import { ToolCalls } from "./tool_calls.js";

/**
 * @import { Decision, TaskState } from "../../client/types.d.ts"
 * @import { FrameQueue } from "../../ui/frames.js"
 *
 * @typedef {object} Options
 * @property {Set<string>} simulatedModels
 * @property {FrameQueue} frames renders the texts
 * @property {(taskId: string, callId: string, decision: Decision) => Promise<void>} decide
 * @property {() => void} onRetry asked for after an answer that failed or was stopped
 * @property {() => void} onRendered after each change of what is seen
 * @typedef {{show: (text: string, isWhole: boolean, deadline: number) => boolean}} TextView
 */

/** @param {HTMLElement} container @returns {TextView} for when Markdown cannot be loaded */
const plainView = (container) => ({
  show: (text) => {
    setText(container, text);
    return true;
  },
});

/** Longer JSON is shown as it came. */
const MAX_JSON_CHARS = 50_000;

/** Loaded with the first answer. @returns {Promise<(container: HTMLElement) => TextView>} */
async function loadMarkdown() {
  try {
    const { MarkdownView } = await import("../../markdown/view.js");
    return (container) => new MarkdownView(container);
  } catch (error) {
    console.warn("markdown", error);
    return plainView;
  }
}

export class Answer {
  element = document.createElement("article");
  /** @type {TaskState|null} null: not accepted by the server yet */
  #task = null;
  #options;
  #toolCalls;
  #isDisposed = false;
  #copy = copyButton(() => this.#task?.text ?? "", t("answer.copy"));
  /** @type {{text: TextView, reasoning: TextView}|null} null until Markdown is loaded */
  #views = null;
  #job = (/** @type {number} */ deadline) => this.#renderTexts(deadline);

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
    this.#toolCalls = new ToolCalls({
      decide: (callId, decision) => options.decide(this.#task?.id ?? "", callId, decision),
      onChange: () => this.#showParts(),
    });
    this.element.className = "answer";
    this.element.setAttribute("aria-label", t("answer.label"));
    this.#showParts();
    this.#createViews();
  }

  async #createViews() {
    const create = await loadMarkdown();
    this.#views = {
      text: create(find(this.element, ".answer-text")),
      reasoning: create(find(this.element, ".reasoning > .md")),
    };
    if (this.#task && !this.#isDisposed) this.#options.frames.add(this.#job);
  }

  /** @param {TaskState|null} task */
  show(task) {
    this.#task = task;
    this.#showParts();
    if (task) this.#options.frames.add(this.#job);
  }

  dispose() {
    this.#isDisposed = true;
    this.#options.frames.remove(this.#job);
  }

  #showParts() {
    const task = this.#task;
    const active = !task || isActive(task);
    this.element.setAttribute("aria-busy", String(active));
    this.element.classList.toggle("streaming", active && Boolean(task?.text));
    render(this.#template(task), this.element);
  }

  /** @param {number} deadline @returns {boolean} */
  #renderTexts(deadline) {
    if (!this.#views) return true;
    const { reasoning = "" } = this.#task ?? {};
    const text = this.#task ? shownText(this.#task) : "";
    const isWhole = !this.#task || !isActive(this.#task);
    const isDone = this.#views.text.show(text, isWhole, deadline) &&
      this.#views.reasoning.show(reasoning, isWhole || text !== "", deadline);
    this.#options.onRendered();
    return isDone;
  }

  /** @param {TaskState|null} task */
  #template(task) {
    const status = statusText(task);
    const isThinking = task && isActive(task) && !task.text;
    return html`
      <p class="answer-status" ?hidden=${!status}>${status}</p>
      <details class="reasoning" ?hidden=${!task?.reasoning}>
        <summary>${t(isThinking ? "answer.reasoning_running" : "answer.reasoning")}</summary>
        <div class="md"></div>
      </details>
      ${task ? this.#toolCalls.template(task) : nothing}
      <div class="md answer-text"></div>
      ${task ? this.#end(task) : nothing}
      <footer class="answer-footer" ?hidden=${!task || (isActive(task) && !task.model)}>
        ${task ? this.#footer(task) : nothing}
      </footer>
    `;
  }

  /** @param {TaskState} task */
  #end(task) {
    const end = endOf(task);
    if (!end) return nothing;
    return html`
      <div class="answer-end ${task.status}">
        <strong>${end.title}</strong>
        <p>${end.help}</p>
        ${end.code ? html`<code>${end.code}</code>` : nothing}
        <button type="button" class="button small" @click=${this.#options.onRetry}>
          ${icon("retry")}${t("answer.retry")}
        </button>
      </div>
    `;
  }

  /** @param {TaskState} task */
  #footer(task) {
    const tokens = task.usage.completion_tokens;
    return html`
      ${isActive(task) || !task.text ? nothing : this.#copy}
      <span class="answer-model">${task.model}</span>
      ${this.#options.simulatedModels.has(task.model) ? simulatedBadge() : nothing}
      ${attemptOf(task) < 2 ? nothing : html`
        <span class="badge attempt">${t("answer.attempt", { attempt: attemptOf(task) })}</span>
      `}
      <span class="answer-usage">${tokens ? t("answer.tokens", { count: tokens }) : ""}</span>
    `;
  }
}

/** Each step of calls of tools is an attempt of its own, and no failure. @param {TaskState} task */
function attemptOf({ attempt, calls }) {
  return attempt - Math.max(0, ...calls.map(({ step }) => step));
}

/** @param {TaskState} task @returns {string} JSON that is the whole answer as a block of code */
function shownText({ status, text }) {
  if (status !== "succeeded" || text.length > MAX_JSON_CHARS || !/^\s*[{[]/.test(text)) return text;
  try {
    return `\`\`\`json\n${stringify(parseExactly(text), 2)}\n\`\`\``;
  } catch {
    return text;
  }
}

function simulatedBadge() {
  return html`
    <span class="badge simulated" title=${t("answer.simulated_help")}>${t(
      "answer.simulated",
    )}</span>
  `;
}

/** @param {TaskState|null} task @returns {string} empty once there is something to read */
export function statusText(task) {
  if (!task) return t("answer.sending");
  if (task.status === "queued") return queuedText(task);
  if (task.status === "requires_action") return t("answer.requires_action");
  if (task.status === "calling_tools") return t("answer.calling");
  if (task.status !== "running" || task.text) return "";
  return t(task.reasoning ? "answer.thinking" : "answer.waiting");
}

/** @param {TaskState} task */
function queuedText({ attempt, calls, position, etaSeconds }) {
  if (calls.length) return t("answer.next_step");
  if (attempt > 0) return t("answer.retrying");
  const place = position === null ? "" : t("answer.queued_place", { position });
  const seconds = Math.max(1, Math.round(etaSeconds ?? 0));
  const eta = etaSeconds === null ? "" : t("answer.queued_eta", { seconds });
  return `${t("answer.queued")}${place}${eta}`;
}

/** @param {TaskState} task @returns {{title: string, help: string, code?: string}|null} */
function endOf({ status, error, finishReason }) {
  if (status === "failed") return { ...explain(error ?? {}), code: error?.code };
  if (status === "cancelled" || status === "expired") return end(status);
  return status === "succeeded" && finishReason === "length" ? end("length") : null;
}

/** @param {"cancelled"|"expired"|"length"} name */
function end(name) {
  return { title: t(`answer.${name}.title`), help: t(`answer.${name}.help`) };
}
