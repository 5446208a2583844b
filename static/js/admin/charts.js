/** Two small charts, drawn by uPlot in the page's colours. */

// @ts-types="../../../tests/js/types/uplot.d.ts"
import uPlot from "../../vendor/uplot/uplot.js";

const HEIGHT = 150;
/** Points that the chart of the load keeps: an hour of one every three seconds. */
const MAX_POINTS = 1_200;

/** @type {Map<HTMLElement, uPlot>} */
const charts = new Map();
/** @type {number[][]} */
const load = [[], [], []];

/** @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {(string | undefined)[]} names */
function axes(...names) {
  return names.map((_name, index) => ({
    stroke: () => colour("--body-quiet-color"),
    grid: { show: index > 0, stroke: () => colour("--hairline-color"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
    size: index > 0 ? 48 : 28,
  }));
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
  const made = new uPlot({ ...size(), ...options }, data, container);
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
  const strokes = ["--notice", "--brand"];
  const series = labels.map((label, index) => ({
    label,
    stroke: () => colour(strokes[index]),
    width: 2,
    points: { show: false },
  }));
  const scales = {
    y: {
      range: (
        /** @type {any} */ _u,
        /** @type {number} */ _low,
        /** @type {number} */ high,
      ) => [0, Math.max(high * 1.1, 5)],
    },
  };
  draw(container, {
    series: [{}, ...series],
    axes: axes("x", "y"),
    scales,
    cursor: { show: false },
  }, load);
}

/**
 * Draw bars of what each day cost, all currencies added up by their figures.
 *
 * @param {HTMLElement | null} container
 * @param {{ day: string, money: Record<string, string> }[]} days
 */
export function dayChart(container, days) {
  if (!container) return;
  const at = days.map(({ day }) => Date.parse(`${day}T00:00:00Z`) / 1000);
  const currencies = [...new Set(days.flatMap(({ money }) => Object.keys(money)))].sort().slice(
    0,
    3,
  );
  if (currencies.length === 0) currencies.push("USD");
  const key = currencies.join(" ");
  if (container.dataset.currencies !== key) {
    charts.get(container)?.destroy();
    charts.delete(container);
    container.dataset.currencies = key;
  }
  const columns = currencies.map((currency) =>
    days.map(({ money }) => Number(money[currency] ?? 0))
  );
  const strokes = ["--brand", "--notice", "--error-fg"];
  const series = currencies.map((label, index) => ({
    label,
    stroke: () => colour(strokes[index]),
    fill: () => colour(strokes[index]),
    paths: uPlot.paths.bars({ size: [0.6, 24] }),
    points: { show: false },
  }));
  draw(container, {
    series: [{}, ...series],
    axes: axes("x", "y"),
    scales: {
      x: {
        range: (
          /** @type {any} */ _u,
          /** @type {number} */ low,
          /** @type {number} */ high,
        ) => [low - 43_200, high + 43_200],
      },
      y: {
        range: (
          /** @type {any} */ _u,
          /** @type {number} */ _low,
          /** @type {number} */ high,
        ) => [0, high * 1.1 || 1],
      },
    },
    tzDate: (/** @type {number} */ seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { show: false },
  }, columns.length ? [at, ...columns] : [at]);
}
