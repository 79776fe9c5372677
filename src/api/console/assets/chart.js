// Rates over time, drawn by uPlot.

import { h, setText } from "./dom.js";
import { byteRate, bytes, clock, compact, rowRate } from "./format.js";

const dark = matchMedia("(prefers-color-scheme: dark)");

const HEIGHT = 170;

/**
 * A chart of rows and bytes a second; `set` takes samples as `/throughput` gives them. It shows the last
 * `seconds`, as far as there are samples of them, or all samples.
 */
export function rateChart(signal, { title, seconds = null }) {
  const now = h("p", { class: "chart-now" });
  const canvas = h("div", { class: "chart", role: "img", "aria-label": title });
  const element = h("div", {}, now, canvas);
  let plot;
  let samples = [];

  const colors = () => {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(name).trim();
    return { rows: value("--chart-rows"), bytes: value("--chart-bytes"), grid: value("--border"), text: value("--muted") };
  };

  const options = () => {
    const color = colors();
    const axis = { stroke: color.text, grid: { stroke: color.grid, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width: Math.max(200, canvas.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
      padding: [10, 4, 0, 4],
      scales: {
        x: { time: true, range: (_, first, last) => (seconds === null ? [first, Math.max(last, first + 60)] : [Math.max(last - seconds, Math.min(first, last - 120)), last]) },
        rows: { range: (_, __, highest) => [0, Math.max(10, highest * 1.1)] },
        bytes: { range: (_, __, highest) => [0, Math.max(1000, highest * 1.1)] },
      },
      axes: [
        { ...axis, size: 26, space: 90, grid: { show: false }, values: (_, ticks, __, ___, step) => ticks.map((tick) => clock(new Date(tick * 1000)).slice(0, step < 60 ? 8 : 5)) },
        { ...axis, scale: "rows", size: 56, values: (_, ticks) => ticks.map(compact) },
        { ...axis, scale: "bytes", side: 1, size: 64, grid: { show: false }, values: (_, ticks) => ticks.map(bytes) },
      ],
      series: [
        {},
        { scale: "rows", stroke: color.rows, width: 2, points: { show: false }, fill: `${color.rows}22` },
        { scale: "bytes", stroke: color.bytes, width: 1.5, dash: [5, 3], points: { show: false } },
      ],
      hooks: { setCursor: [(self) => describe(self.cursor.idx)] },
    };
  };

  /** The words beside the chart: of the sample under the pointer, or of the last one. */
  const describe = (index) => {
    const sample = samples[index ?? samples.length - 1];
    if (!sample) return;
    const when = index === null || index === undefined ? "Now" : `At ${clock(new Date(sample.at))}`;
    setText(now.querySelector(".when"), when);
    setText(now.querySelector(".rows"), rowRate(sample.rows_per_second));
    setText(now.querySelector(".bytes"), byteRate(sample.bytes_per_second));
  };
  now.append(
    h("span", { class: "when muted" }, "Now"), " ",
    h("span", { class: "key key-rows" }, h("span", { class: "rows" }, "–")), " ",
    h("span", { class: "key key-bytes" }, h("span", { class: "bytes" }, "–")));

  const draw = () => {
    plot?.destroy();
    plot = new window.uPlot(options(), data(), canvas);
  };
  const data = () => [
    samples.map((sample) => new Date(sample.at).getTime() / 1000),
    samples.map((sample) => sample.rows_per_second),
    samples.map((sample) => sample.bytes_per_second),
  ];

  const resize = new ResizeObserver(() => plot?.setSize({ width: Math.max(200, canvas.clientWidth), height: HEIGHT }));
  resize.observe(canvas);
  dark.addEventListener("change", () => plot && draw(), { signal });
  signal.addEventListener("abort", () => {
    resize.disconnect();
    plot?.destroy();
  });

  return {
    element,
    set(all) {
      samples = all;
      if (plot) plot.setData(data());
      else if (canvas.isConnected) draw();
      const shown = seconds === null ? samples : samples.slice(-Math.ceil(seconds / 2));
      const highest = shown.reduce((most, sample) => Math.max(most, sample.rows_per_second), 0);
      const last = samples.at(-1);
      canvas.setAttribute("aria-label", last
        ? `${title}: now ${rowRate(last.rows_per_second)} and ${byteRate(last.bytes_per_second)}, at most ${rowRate(highest)}`
        : `${title}: nothing was measured yet`);
      if (plot?.cursor.idx === null || plot?.cursor.idx === undefined) describe(null);
    },
  };
}
