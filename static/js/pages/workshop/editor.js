/** The parts of the workshop that only show: fields, prompt, differences. */

import { t } from "../../i18n/i18n.js";
import { html, nothing } from "../../lit.js";
import { diff, shortened } from "./diff.js";
import { LIMITS, textsOf, toolsOf } from "./draft.js";

/**
 * @import { Limit, Texts, Version } from "./draft.js"
 * @typedef {keyof Texts} Name
 *
 * @typedef {object} Editing
 * @property {Texts} texts
 * @property {boolean} isReadOnly
 * @property {Record<string, string>} errors by field
 * @property {string[]} models
 * @property {{name: string, description: string}[]} tools those that the editor may use
 * @property {(name: Name, text: string) => void} onInput
 */

/** @type {Name[]} */
const AREAS = ["system_template", "user_template", "variables_schema", "output_schema"];
/** @type {Name[]} */
export const NAMES = [...AREAS, "model", "params", "tools", ...LIMITS, "notes"];
/** The smallest step of each limit's number. @type {Record<Limit, string>} */
const STEPS = {
  max_tool_steps: "1",
  max_tool_seconds: "any",
  max_tool_result_bytes: "1",
  max_tool_cost: "any",
};
const CODE = new Set([...AREAS, "params"]);
/** @type {Partial<Record<Name, "workshop.schema_help"|"workshop.output_schema_help">>} */
const HELP = {
  variables_schema: "workshop.schema_help",
  output_schema: "workshop.output_schema_help",
};

/** @param {Editing} editing */
export function editorTemplate(editing) {
  return NAMES.map((name) => {
    if (name === "model") return modelTemplate(editing);
    if (isLimit(name)) return limitTemplate(editing, name);
    return name === "tools" ? toolsTemplate(editing) : areaTemplate(editing, name);
  });
}

/** @param {Editing} editing @param {Name} name */
function areaTemplate({ texts, isReadOnly, errors, onInput }, name) {
  const id = `version-${name}`;
  const isCode = CODE.has(name);
  const error = errors[name] ?? "";
  const help = HELP[name];
  return html`
    <div class="field ${isCode ? "code-field" : ""}">
      <label for=${id}>${t(`workshop.${name}`)}</label>
      <textarea id=${id} rows="1" dir=${isCode ? "ltr" : "auto"} ?readonly=${isReadOnly}
        spellcheck=${isCode ? "false" : nothing} aria-describedby="${id}-help ${id}-error"
        aria-invalid=${String(error !== "")} .value=${texts[name]}
        @input=${(/** @type {any} */ { target }) => onInput(name, target.value)}></textarea>
      <p class="field-help" id="${id}-help">${help ? t(help) : ""}</p>
      <p class="field-error" id="${id}-error">${error}</p>
    </div>
  `;
}

/** @param {Editing} editing */
function modelTemplate({ texts, isReadOnly, errors, models, onInput }) {
  const names = models.includes(texts.model) || !texts.model ? models : [texts.model, ...models];
  return html`
    <div class="field">
      <label for="version-model">${t("workshop.model")}</label>
      <select id="version-model" ?disabled=${isReadOnly} aria-describedby="version-model-error"
        @change=${(/** @type {any} */ { target }) => onInput("model", target.value)}>
        <option value="" .selected=${!texts.model}>${t("workshop.default_model")}</option>
        ${names.map((name) =>
          html`<option value=${name} .selected=${name === texts.model}>${name}</option>`
        )}
      </select>
      <p class="field-error" id="version-model-error">${errors.model ?? ""}</p>
    </div>
  `;
}

/** Tools that the version names and that are gone are listed too, so that they can be removed.
 * @param {Editing} editing */
function toolsTemplate({ texts, isReadOnly, errors, tools, onInput }) {
  const chosen = new Set(toolsOf(texts));
  const names = tools.map((tool) => tool.name);
  const all = [...tools, ...[...chosen].filter((name) => !names.includes(name)).map(unknownTool)];
  if (!all.length) return nothing;
  /** @param {string} name @param {boolean} isChosen */
  const choose = (name, isChosen) => {
    if (isChosen) chosen.add(name);
    else chosen.delete(name);
    onInput("tools", [...chosen].join("\n"));
  };
  return html`
    <fieldset class="field choices tool-choices" ?disabled=${isReadOnly}
      aria-describedby="version-tools-help version-tools-error">
      <legend>${t("workshop.tools")}</legend>
      ${all.map(({ name, description }) =>
        html`
          <label title=${description}>
            <input type="checkbox" .checked=${chosen.has(name)}
              @change=${(/** @type {any} */ { target }) => choose(name, target.checked)}>
            <span><code>${name}</code> <span class="muted">${description}</span></span>
          </label>
        `
      )}
      <p class="field-help" id="version-tools-help">${t("workshop.tools_help")}</p>
      <p class="field-error" id="version-tools-error">${errors.tools ?? ""}</p>
    </fieldset>
  `;
}

/** @param {Name} name @returns {name is Limit} */
function isLimit(name) {
  return LIMITS.some((limit) => limit === name);
}

/** Shown once the version has tools, or the limit. @param {Editing} editing @param {Limit} name */
function limitTemplate({ texts, isReadOnly, errors, onInput }, name) {
  if (!texts.tools && !texts[name]) return nothing;
  const id = `version-${name}`;
  const error = errors[name] ?? "";
  return html`
    <div class="field">
      <label for=${id}>${t(`workshop.${name}`)}</label>
      <input id=${id} type="number" min="0" step=${STEPS[name]} ?readonly=${isReadOnly}
        placeholder=${t("workshop.limit_default")} aria-describedby="${id}-error"
        aria-invalid=${String(error !== "")} .value=${texts[name]}
        @input=${(/** @type {any} */ { target }) => onInput(name, target.value)}>
      <p class="field-error" id="${id}-error">${error}</p>
    </div>
  `;
}

/** @param {string} name */
function unknownTool(name) {
  return { name, description: t("workshop.tool_unknown") };
}

/** @param {{role: string, content: string}[]} messages */
export function promptTemplate(messages) {
  return messages.map(({ role, content }) => {
    const label = t(role === "system" ? "workshop.role_system" : "workshop.role_user");
    return html`
      <figure class="prompt-message">
        <figcaption>${label}</figcaption>
        <pre tabindex="0" aria-label=${label} dir="auto">${content}</pre>
      </figure>
    `;
  });
}

/** @param {Version} before @param {Texts} after */
export function differences(before, after) {
  const old = textsOf(before);
  const parts = NAMES.filter((name) => name !== "notes" && old[name] !== after[name]);
  if (parts.length === 0) return html`<p class="muted">${t("workshop.no_difference")}</p>`;
  return parts.map((name) =>
    html`
      <section class="diff">
        <h3>${t(`workshop.${name}`)}</h3>
        <div class="diff-lines" tabindex="0" role="group" aria-label=${t(
          `workshop.${name}`,
        )} dir="ltr">
          ${shortened(diff(old[name], after[name])).map(lineTemplate)}
        </div>
      </section>
    `
  );
}

const SIGNS = { same: " ", added: "+", removed: "−" };

/** @param {import("./diff.js").Line|null} line */
function lineTemplate(line) {
  if (!line) return html`<div class="diff-line gap" aria-hidden="true">⋯</div>`;
  const { kind, text } = line;
  const content = html`<span class="diff-sign">${SIGNS[kind]}</span>${text || " "}`;
  if (kind === "added") return html`<ins class="diff-line added">${content}</ins>`;
  if (kind === "removed") return html`<del class="diff-line removed">${content}</del>`;
  return html`<div class="diff-line">${content}</div>`;
}
