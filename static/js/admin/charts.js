/** Two small charts, drawn by uPlot in the page's colours. */

// @ts-types="../../../tests/js/types/uplot.d.ts"
import uPlot from "../../vendor/uplot/uplot.js";

const HEIGHT = 160;
/** Points that the chart of the load keeps: an hour of one every three seconds. */
const MAX_POINTS = 1_200;
/** The chart of the load is at least so wide. */
const MIN_SECONDS = 120;
const HALF_DAY = 43_200;
/** Currencies that the bars show. */
const MAX_CURRENCIES = 3;
const STROKES = ["--brand", "--notice", "--error-fg"];

/** @type {Map<HTMLElement, uPlot>} */
const charts = new Map();
/** @type {number[][]} times, waiting tasks, slots in use */
const load = [[], [], []];

/** @typedef {(chart: unknown, low: number, high: number) => [number, number]} Range */

/** @type {Range} */
const loadTimes = (_chart, low, high) => [Math.min(low, high - MIN_SECONDS), high];
/** @type {Range} */
const loadCounts = (_chart, _low, high) => [0, Math.max(high * 1.1, 5)];
/** @type {Range} */
const days = (_chart, low, high) => [low - HALF_DAY, high + HALF_DAY];
/** @type {Range} */
const amounts = (_chart, _low, high) => [0, high * 1.1 || 1];

const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

/**
 * A canvas takes no `light-dark()`, as which some colours are defined: what a browser makes of it.
 *
 * @param {string} name @returns {string} such as "rgb(15, 110, 99)"
 */
function color(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

const numbers = new Intl.NumberFormat(document.documentElement.lang || "en", {
  maximumSignificantDigits: 3,
});

/** @param {Date} at */
const clock = (at) => at.toTimeString().slice(0, 8);
/** @param {Date} at */
const dayOf = (at) => at.toISOString().slice(5, 10);

/** @param {(at: Date) => string} format of the horizontal axis */
function axes(format) {
  const shared = {
    stroke: () => color("--body-quiet-color"),
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  /** @param {unknown} _chart @param {number[]} times */
  const values = (_chart, times) => times.map((seconds) => format(new Date(seconds * 1000)));
  const grid = { stroke: () => color("--hairline-color"), width: 1 };
  return [
    { ...shared, grid: { show: false }, size: 26, space: 70, values },
    { ...shared, grid, size: 56, values: amountsOf },
  ];
}

/** @param {unknown} _chart @param {number[]} ticks of the vertical axis */
function amountsOf(_chart, ticks) {
  return ticks.map((tick) => numbers.format(tick));
}

/**
 * @param {HTMLElement} container
 * @param {Record<string, unknown>} options
 * @param {number[][]} data
 */
function draw(container, options, data) {
  const chart = charts.get(container);
  if (chart) {
    chart.setData(data);
    return;
  }
  const size = () => ({ width: Math.max(container.clientWidth, 120), height: HEIGHT });
  const made = new uPlot({ ...size(), cursor: { show: false }, ...options }, data, container);
  charts.set(container, made);
  new ResizeObserver(() => made.setSize(size())).observe(container);
}

/**
 * Add a point of this moment to the chart of waiting tasks and slots in use.
 *
 * @param {HTMLElement | null} container
 * @param {string[]} labels
 * @param {number[]} values
 */
export function loadChart(container, labels, values) {
  if (!container) return;
  [Date.now() / 1000, ...values].forEach((value, index) => {
    load[index].push(value);
    if (load[index].length > MAX_POINTS) load[index].shift();
  });
  const series = labels.map((label, index) => ({
    label,
    stroke: () => color(STROKES[1 - index]),
    width: 2,
    points: { show: false },
  }));
  const scales = { x: { range: loadTimes }, y: { range: loadCounts } };
  draw(container, { series: [{}, ...series], axes: axes(clock), scales }, load);
}

/**
 * Draw a bar for each day and currency.
 *
 * @param {HTMLElement | null} container
 * @param {{ day: string, money: Record<string, string> }[]} spent
 */
export function dayChart(container, spent) {
  if (!container) return;
  const used = new Set(spent.flatMap(({ money }) => Object.keys(money)));
  const currencies = [...used].sort().slice(0, MAX_CURRENCIES);
  if (currencies.join() !== container.dataset.currencies) {
    charts.get(container)?.destroy();
    charts.delete(container);
    container.dataset.currencies = currencies.join();
  }
  const series = currencies.map((label, index) => ({
    label,
    stroke: () => color(STROKES[index]),
    fill: () => color(STROKES[index]),
    paths: uPlot.paths.bars({ size: [0.6, 24] }),
    points: { show: false },
  }));
  const times = spent.map(({ day }) => Date.parse(`${day}T00:00:00Z`) / 1000);
  const columns = currencies.map((name) => spent.map(({ money }) => Number(money[name] ?? 0)));
  /** @param {number} seconds */
  const tzDate = (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC");
  const scales = { x: { range: days }, y: { range: amounts } };
  const options = { series: [{}, ...series], axes: axes(dayOf), scales, tzDate };
  draw(container, options, [times, ...columns]);
}
