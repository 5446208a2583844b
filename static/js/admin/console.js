/** The console on the admin's index page: asks for its figures every few seconds while it is seen. */

import { dayChart, loadChart } from "./charts.js";

const POLL_MS = 3_000;
const root = /** @type {HTMLElement} */ (document.getElementById("console"));

/**
 * @typedef {{ id: number, name: string, provider: string, is_enabled: boolean, queued: number[],
 *   oldest_seconds: number, in_use: number | null, limit: number | null, cap: number,
 *   paused_seconds: number, held_by: string }} ModelLoad
 * @typedef {{ id: number, name: string, is_enabled: boolean, breaker: string, seconds_left: number,
 *   opened: number, is_held: boolean }} ProviderHealth
 * @typedef {{ id: number, model_id: number, model: string, name: string, weight: number,
 *   is_paused: boolean, in_use: number | null, limit: number | null, cap: number, breaker: string,
 *   seconds_left: number, paused_seconds: number, requests: number,
 *   requests_per_minute: number | null, tokens: number, tokens_per_minute: number | null
 *   }} DeploymentHealth
 * @typedef {{ day: string, tasks: number, money: Record<string, string> }} DaySpending
 * @typedef {{ has_redis?: boolean, models?: ModelLoad[], failures?: Record<string, number>,
 *   workers?: number, runs?: number, providers?: ProviderHealth[], deployments?: DeploymentHealth[],
 *   spending?: { days: DaySpending[], is_complete: boolean } }} ConsoleData
 */

const numbers = new Intl.NumberFormat(root?.dataset.language);

/** @param {string} name */
const text = (name) => root.getAttribute(`data-text-${name}`) ?? name;

/** @param {string} id */
const element = (id) => document.getElementById(id);

/**
 * @param {string} id
 * @param {string} value
 */
function show(id, value) {
  const target = element(id);
  if (target) target.textContent = value;
}

/** @param {number} seconds */
function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** @param {(string | Node)[]} cells the first one is the row's heading */
function row(...cells) {
  const made = document.createElement("tr");
  cells.forEach((content, index) => {
    const cell = document.createElement(index === 0 ? "th" : "td");
    if (index === 0) cell.setAttribute("scope", "row");
    cell.append(content);
    made.append(cell);
  });
  return made;
}

/**
 * @param {string} word
 * @param {"good" | "bad" | "neutral"} kind
 */
function badge(word, kind) {
  const made = document.createElement("span");
  made.className = `console-badge ${kind}`;
  made.textContent = word;
  return made;
}

/**
 * @param {string} path
 * @param {"lift" | "pause"} action
 */
function actionButton(path, action) {
  const button = document.createElement("button");
  button.type = "submit";
  button.className = "console-button small";
  button.textContent = text(action);
  button.setAttribute("form", "console-lift");
  button.formAction = `${root.dataset.url}${action}/${path}/`;
  return button;
}

/** @param {string} path */
const liftButton = (path) => actionButton(path, "lift");

/** @param {Node[]} parts */
function together(...parts) {
  const made = document.createElement("span");
  made.className = "console-together";
  made.append(...parts);
  return made;
}

/** @param {{ in_use: number | null, limit: number | null, cap: number }} model */
function slots(model) {
  const limit = model.limit ?? model.cap;
  const made = document.createElement("span");
  made.className = "console-slots";
  const meter = document.createElement("meter");
  meter.max = Math.max(model.cap, 1);
  meter.value = model.in_use ?? 0;
  meter.setAttribute("aria-hidden", "true");
  const used = model.in_use === null ? "?" : numbers.format(model.in_use);
  const cap = limit < model.cap ? `${limit} (${model.cap})` : numbers.format(model.cap);
  made.append(meter, `${used} / ${cap}`);
  return made;
}

/**
 * What keeps a model's tasks. Pauses of providers and deployments are lifted where those stand.
 *
 * @param {ModelLoad} model
 */
function modelState(model) {
  if (!model.is_enabled) return badge(text("disabled"), "neutral");
  const lift = liftButton(`model/${model.id}`);
  if (model.held_by && model.held_by !== "model") return badge(text("by-staff"), "bad");
  if (model.held_by) return together(badge(text("by-staff"), "bad"), lift);
  if (model.paused_seconds === 0) return document.createElement("span");
  return together(badge(`${text("paused")} ${duration(model.paused_seconds)}`, "bad"), lift);
}

/** @param {ModelLoad[]} models */
function showModels(models) {
  element("console-models")?.replaceChildren(...models.map((model) => {
    const oldest = model.oldest_seconds ? duration(model.oldest_seconds) : "–";
    const queued = model.queued.map((count) => numbers.format(count));
    return row(model.name, ...queued, oldest, slots(model), modelState(model));
  }));
  /** @param {(model: ModelLoad) => number} value */
  const sum = (value) => models.reduce((total, model) => total + value(model), 0);
  const waiting = sum((model) => model.queued.reduce((a, b) => a + b, 0));
  const running = sum((model) => model.in_use ?? 0);
  const oldest = Math.max(0, ...models.map((model) => model.oldest_seconds));
  show("figure-waiting", numbers.format(waiting));
  show("figure-running", numbers.format(running));
  show("figure-oldest", oldest ? duration(oldest) : "–");
  loadChart(element("chart-load"), [text("waiting"), text("running")], [waiting, running]);
}

/** @param {Record<string, number>} failures */
function showFailures(failures) {
  const codes = element("console-codes");
  const entries = Object.entries(failures);
  codes?.replaceChildren(...entries.map(([code, count]) => {
    const link = document.createElement("a");
    link.href = `${codes.dataset.list}?error=${encodeURIComponent(code)}&created=hour`;
    link.textContent = code || text("no-code");
    return row(link, numbers.format(count));
  }));
  const none = element("console-no-failures");
  if (none) none.hidden = entries.length > 0;
  show("figure-failed", numbers.format(entries.reduce((total, [, count]) => total + count, 0)));
}

/**
 * @param {number} used
 * @param {number | null} limit
 */
const ofMinute = (used, limit) =>
  limit === null ? "–" : `${numbers.format(used)} / ${numbers.format(limit)}`;

/** @param {DeploymentHealth[]} deployments */
function showDeployments(deployments) {
  const card = element("console-routes-card");
  if (card) card.hidden = deployments.length === 0;
  element("console-deployments")?.replaceChildren(...deployments.map((deployment) => {
    const path = `deployment/${deployment.model_id}/${deployment.id}`;
    const left = deployment.seconds_left ? ` ${duration(deployment.seconds_left)}` : "";
    const isGood = deployment.breaker === "closed";
    const kind = isGood ? "good" : deployment.breaker === "unknown" ? "neutral" : "bad";
    let state = badge(text(deployment.breaker) + left, kind);
    if (deployment.is_paused) state = badge(text("by-staff"), "neutral");
    else if (deployment.paused_seconds > 0) {
      state = badge(`${text("paused")} ${duration(deployment.paused_seconds)}`, "bad");
    }
    const isCalled = !deployment.is_paused && !deployment.paused_seconds && kind !== "bad";
    return row(
      `${deployment.model}@${deployment.name}`,
      numbers.format(deployment.weight),
      slots(deployment),
      ofMinute(deployment.requests, deployment.requests_per_minute),
      ofMinute(deployment.tokens, deployment.tokens_per_minute),
      together(state, actionButton(path, isCalled ? "pause" : "lift")),
    );
  }));
}

/** @param {ProviderHealth[]} providers */
function showProviders(providers) {
  element("console-providers")?.replaceChildren(...providers.map((provider) => {
    if (!provider.is_enabled) return row(provider.name, badge(text("disabled"), "neutral"));
    const lift = liftButton(`provider/${provider.id}`);
    if (provider.is_held) return row(provider.name, together(badge(text("by-staff"), "bad"), lift));
    const isGood = provider.breaker === "closed";
    const kind = isGood ? "good" : provider.breaker === "unknown" ? "neutral" : "bad";
    const left = provider.seconds_left ? ` ${duration(provider.seconds_left)}` : "";
    const state = badge(text(provider.breaker) + left, kind);
    if (kind !== "bad") return row(provider.name, state);
    return row(provider.name, together(state, lift));
  }));
}

/** @param {DaySpending[]} days */
function total(days) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const { money } of days) {
    for (const [currency, amount] of Object.entries(money)) {
      sums[currency] = (sums[currency] ?? 0) + Number(amount);
    }
  }
  const written = Object.entries(sums).map(([currency, amount]) =>
    `${amount.toFixed(amount < 10 ? 4 : 2)} ${currency}`
  );
  return written.join(" · ") || "0";
}

/** @param {{ days: DaySpending[], is_complete: boolean }} spending */
function showSpending({ days, is_complete }) {
  show("figure-today", total(days.slice(-1)));
  show("figure-month", total(days));
  const partial = element("console-partial");
  if (partial) {
    partial.textContent = text("partial");
    partial.hidden = is_complete;
  }
  dayChart(element("chart-spending"), days);
}

/** @param {ConsoleData} data */
function showAll(data) {
  if (data.models) showModels(data.models);
  if (data.failures) showFailures(data.failures);
  if (data.workers !== undefined) show("figure-workers", numbers.format(data.workers));
  if (data.runs !== undefined) show("figure-runs", numbers.format(data.runs));
  if (data.providers) showProviders(data.providers);
  if (data.deployments) showDeployments(data.deployments);
  if (data.spending) showSpending(data.spending);
  const hasRedis = data.has_redis !== false;
  showState(hasRedis ? "live" : "no-redis", hasRedis);
}

/**
 * @param {string} name
 * @param {boolean} isGood
 */
function showState(name, isGood) {
  const state = element("console-state");
  if (!state) return;
  state.dataset.state = isGood ? "good" : "bad";
  if (state.textContent !== text(name)) state.textContent = text(name);
}

async function poll() {
  try {
    const response = await fetch(/** @type {string} */ (root.dataset.url), {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(10_000),
    });
    // The session has ended: the login page was the answer.
    if (response.redirected) return location.reload();
    if (!response.ok) throw new Error(String(response.status));
    showAll(await response.json());
  } catch {
    showState("stale", false);
  }
}

async function run() {
  for (;;) {
    if (document.visibilityState === "visible") await poll();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

if (root) run();
