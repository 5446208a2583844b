/** The calls of tools of one answer: what was asked of each tool, what it answered, and the decisions
 * that some of them wait for. */

import { parseExactly, stringify } from "../../client/json.js";
import { isActive } from "../../client/task_state.js";
import { formatDateTime, formatElapsed, isKey, t } from "../../i18n/i18n.js";
import { html, nothing, repeat } from "../../lit.js";
import { icon } from "../../ui/icons.js";
import { detail, errorText } from "../../ui/notice.js";
import { answerOf, fieldsOf } from "./tool_form.js";

/**
 * @import { CallOfTool, Decision, InputQuestion, TaskState } from "../../client/types.d.ts"
 *
 * @typedef {object} Options
 * @property {(callId: string, decision: Decision) => Promise<void>} decide
 * @property {() => void} onChange what is shown has changed, and not by the task
 *
 * @typedef {object} Form what the user is about to decide
 * @property {"choice"|"edit"|"reject"} mode
 * @property {string} text the arguments as JSON, or the reason
 * @property {string} problem why it was not accepted
 * @property {boolean} isBusy sent, and not answered yet
 */

const REASON_MAX_CHARS = 1000;

/** @type {Form} */
const CHOICE = { mode: "choice", text: "", problem: "", isBusy: false };

export class ToolCalls {
  #options;
  /** @type {Map<string, Form>} by the call's id; others have the two buttons */
  #forms = new Map();

  /** @param {Options} options */
  constructor(options) {
    this.#options = options;
  }

  /** @param {TaskState} task */
  template(task) {
    if (!task.calls.length) return nothing;
    return html`
      <ul class="tool-calls" aria-label=${t("tools.label")}>
        ${repeat(task.calls, ({ id }) => id, (call) => this.#item(call, isActive(task)))}
      </ul>
    `;
  }

  /** @param {CallOfTool} call @param {boolean} mayDecide */
  #item(call, mayDecide) {
    const isAsked = call.state === "requires_action" && mayDecide;
    return html`
      <li class="tool-call ${call.state}" data-call=${call.id}>
        ${isAsked ? this.#question(call) : details(call)}
        ${isAsked ? nothing : this.#note(call)}
      </li>
    `;
  }

  /** Why a decision came to nothing. @param {CallOfTool} call */
  #note({ id }) {
    const problem = this.#forms.get(id)?.problem;
    return problem ? html`<p class="tool-note" role="alert">${problem}</p>` : nothing;
  }

  /** @param {CallOfTool} call */
  #question(call) {
    if (call.input) return this.#inputQuestion(call, call.input);
    const form = this.#forms.get(call.id) ?? CHOICE;
    const heading = `call-${call.id}`;
    return html`
      <section class="tool-question" aria-labelledby=${heading} aria-busy=${String(form.isBusy)}>
        <h3 id=${heading}>${icon("tool")} ${t("tools.question", { tool: call.tool })}</h3>
        ${call.server
          ? html`<p class="muted">${t("tools.server", { name: call.server })}</p>`
          : nothing}
        ${form.mode === "edit"
          ? this.#editor(call, form)
          : block(t("tools.arguments"), pretty(call.arguments))}
        ${form.mode === "reject" ? this.#reason(call, form) : nothing}
        ${form.problem
          ? html`<p class="field-error" role="alert" id="${heading}-problem">${form.problem}</p>`
          : nothing}
        <div class="tool-actions">${this.#actions(call, form)}</div>
        ${call.deadline
          ? html`<p class="muted">${
            t("tools.deadline", { time: formatDateTime(call.deadline) })
          }</p>`
          : nothing}
      </section>
    `;
  }

  /** What a tool asks in the middle of its call. @param {CallOfTool} call @param {InputQuestion} input */
  #inputQuestion(call, input) {
    const form = this.#forms.get(call.id) ?? CHOICE;
    const heading = `call-${call.id}`;
    const problem = form.problem ? `${heading}-problem` : nothing;
    return html`
      <section class="tool-question" aria-labelledby=${heading} aria-busy=${String(form.isBusy)}>
        <h3 id=${heading}>${icon("tool")} ${t("tools.asks", { tool: call.tool })}</h3>
        ${call.server
          ? html`<p class="muted">${t("tools.server", { name: call.server })}</p>`
          : nothing}
        <p class="tool-message" dir="auto">${input.message}</p>
        ${block(t("tools.arguments"), pretty(call.arguments))}
        ${form.problem
          ? html`<p class="field-error" role="alert" id=${problem}>${form.problem}</p>`
          : nothing}
        ${form.mode === "reject"
          ? html`
            ${this.#reason(call, form)}
            <div class="tool-actions">
              ${button(t("tools.decline_now"), "danger", form, () => this.#send(call))}
              ${button(t("dialog.cancel"), "", form, () => this.#close(call))}
            </div>
          `
          : repeat([input], ({ question }) => question, () => this.#inputForm(call, input, form))}
        ${call.deadline
          ? html`<p class="muted">${
            t("tools.deadline", { time: formatDateTime(call.deadline) })
          }</p>`
          : nothing}
      </section>
    `;
  }

  /** @param {CallOfTool} call @param {InputQuestion} input @param {Form} form */
  #inputForm(call, { schema, question }, form) {
    /** @param {SubmitEvent} event */
    const onSubmit = (event) => {
      event.preventDefault();
      const given = new FormData(/** @type {HTMLFormElement} */ (event.target));
      this.#submit(call.id, { decision: "approve", input: answerOf(given, schema), question });
    };
    const problem = form.problem ? `call-${call.id}-problem` : nothing;
    return html`
      <form class="tool-form" @submit=${onSubmit}>
        ${fieldsOf(call, schema, problem)}
        <div class="tool-actions">
          <button class="button small primary" ?disabled=${form.isBusy}>${t(
            "tools.answer",
          )}</button>
          ${button(t("tools.decline"), "", form, () => this.#open(call, "reject", ""))}
        </div>
      </form>
    `;
  }

  /** @param {CallOfTool} call @param {Form} form */
  #editor(call, form) {
    const id = `arguments-${call.id}`;
    return html`
      <div class="field json">
        <label for=${id}>${t("tools.arguments_json")}</label>
        <textarea id=${id} rows="6" spellcheck="false" .value=${form.text}
          aria-invalid=${String(form.problem !== "")}
          aria-describedby=${form.problem ? `call-${call.id}-problem` : nothing}
          @input=${this.#onInput(call)} @keydown=${this.#onKey(call)}></textarea>
      </div>
    `;
  }

  /** @param {CallOfTool} call @param {Form} form */
  #reason(call, form) {
    const id = `reason-${call.id}`;
    return html`
      <div class="field">
        <label for=${id}>${t("tools.reason")}</label>
        <textarea id=${id} rows="2" maxlength=${REASON_MAX_CHARS} .value=${form.text}
          @input=${this.#onInput(call)} @keydown=${this.#onKey(call)}></textarea>
        <p class="muted">${t("tools.reason_help")}</p>
      </div>
    `;
  }

  /** @param {CallOfTool} call @param {Form} form */
  #actions(call, form) {
    if (form.mode === "choice") {
      return html`
        ${button(t("tools.approve"), "primary", form, () => this.#send(call))}
        ${button(t("tools.reject"), "", form, () => this.#open(call, "reject", ""))}
        ${button(t("tools.edit"), "", form, () => this.#open(call, "edit", pretty(call.arguments)))}
      `;
    }
    const label = t(form.mode === "edit" ? "tools.approve_edited" : "tools.reject_now");
    const style = form.mode === "edit" ? "primary" : "danger";
    return html`
      ${button(label, style, form, () => this.#send(call))}
      ${button(t("dialog.cancel"), "", form, () => this.#close(call))}
    `;
  }

  /** @param {CallOfTool} call @returns {(event: InputEvent) => void} */
  #onInput({ id }) {
    return ({ target }) => {
      const form = this.#forms.get(id);
      // What is written stays in its box: nothing is shown anew.
      if (form) form.text = /** @type {HTMLTextAreaElement} */ (target).value;
    };
  }

  /** @param {CallOfTool} call @returns {(event: KeyboardEvent) => void} */
  #onKey(call) {
    return (event) => {
      if (event.key === "Escape") this.#close(call);
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#send(call);
    };
  }

  /** @param {CallOfTool} call @param {"edit"|"reject"} mode @param {string} text */
  #open({ id }, mode, text) {
    this.#set(id, { ...CHOICE, mode, text });
    document.getElementById(`${mode === "edit" ? "arguments" : "reason"}-${id}`)?.focus();
  }

  /** @param {CallOfTool} call */
  #close({ id }) {
    this.#forms.delete(id);
    this.#options.onChange();
    /** @type {HTMLElement|null} */
    const first = document.querySelector(`[data-call="${CSS.escape(id)}"] button`);
    first?.focus();
  }

  /** @param {string} id @param {Form} form */
  #set(id, form) {
    this.#forms.set(id, form);
    this.#options.onChange();
  }

  /** @param {CallOfTool} call */
  async #send({ id, input }) {
    const form = this.#forms.get(id) ?? CHOICE;
    if (form.isBusy) return;
    let decision;
    try {
      decision = decisionOf(form);
    } catch {
      this.#set(id, { ...form, problem: t("tools.not_object") });
      return;
    }
    await this.#submit(id, input ? { ...decision, question: input.question } : decision);
  }

  /** @param {string} id of a call @param {Decision} decision */
  async #submit(id, decision) {
    const form = this.#forms.get(id) ?? CHOICE;
    if (form.isBusy) return;
    this.#set(id, { ...form, problem: "", isBusy: true });
    try {
      await this.#options.decide(id, decision);
      this.#forms.delete(id);
      this.#options.onChange();
    } catch (error) {
      this.#set(id, { ...form, problem: problemOf(error), isBusy: false });
    }
  }
}

/** @param {Form} form @returns {Decision} @throws {Error} for arguments that are no object */
function decisionOf({ mode, text }) {
  if (mode === "reject") return { decision: "reject", reason: text.trim() };
  if (mode === "choice") return { decision: "approve" };
  const given = parseExactly(text);
  if (given === null || typeof given !== "object" || Array.isArray(given)) throw new TypeError();
  return { decision: "approve", arguments: given };
}

/** @param {any} error */
function problemOf(error) {
  if (error.status === 409) return t("tools.decided");
  if (/^(?:arguments|input)/.test(error.field ?? "")) {
    const { path } = error.params ?? {};
    const field = path ? `${error.field}.${path}` : error.field;
    return t("tools.refused", { field, message: detail(error).text });
  }
  return errorText(error);
}

/** @param {string} label @param {string} style @param {Form} form @param {() => void} onClick */
function button(label, style, { isBusy }, onClick) {
  return html`
    <button type="button" class="button small ${style}" ?disabled=${isBusy} @click=${onClick}>
      ${label}
    </button>
  `;
}

/** @param {CallOfTool} call */
function details(call) {
  return html`
    <details>
      <summary>
        ${icon("tool")}<span class="tool-name">${call.tool}</span>
        <span class="badge">${stateText(call)}</span>
        ${call.durationSeconds === null
          ? nothing
          : html`<span class="muted">${formatElapsed(call.durationSeconds)}</span>`}
      </summary>
      ${call.server
        ? html`<p class="muted">${t("tools.server", { name: call.server })}</p>`
        : nothing}
      ${block(t("tools.arguments"), pretty(call.arguments))}
      ${call.reason ? html`<p>${t("tools.reason_given", { reason: call.reason })}</p>` : nothing}
      ${call.text === null ? nothing : block(t("tools.result"), call.text)}
    </details>
  `;
}

/** @param {CallOfTool} call */
function stateText({ state }) {
  const key = `tools.state.${state}`;
  return isKey(key) ? t(key) : state;
}

/** @param {string} json as the model wrote it @returns {string} */
function pretty(json) {
  try {
    return stringify(parseExactly(json), 2);
  } catch {
    return json;
  }
}

/** Can be scrolled by keyboard, as it is cut to a height. @param {string} label @param {string} text */
function block(label, text) {
  return html`
    <figure class="tool-block">
      <figcaption>${label}</figcaption>
      <pre tabindex="0" role="region" aria-label=${label} dir="auto">${text}</pre>
    </figure>
  `;
}
