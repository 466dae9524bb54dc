// The charts of one deployment: columns from /traffic/NAME, drawn by uPlot, in the page's colours.
"use strict";

const CHARTS = [
  { id: "requests", title: "Requests per second", unit: "/s", series: [["requests_per_s", "requests", "--line-1"], ["errors_per_s", "errors", "--line-bad"]] },
  { id: "latency", title: "Latency", unit: " ms", series: [["p50_ms", "p50", "--line-1"], ["p95_ms", "p95", "--line-2"], ["p99_ms", "p99", "--line-3"]] },
  { id: "batch", title: "Rows per batch", unit: "", series: [["batch_rows", "rows", "--line-1"]], none: "No batch was seen in this time." },
  { id: "replicas", title: "Replicas and requests in flight", unit: "", series: [["replicas", "replicas", "--line-1"], ["in_flight", "in flight", "--line-2"]] },
];

const trafficCharts = {
  name: "", holder: null, drawn: [], at: [], columns: {}, span: "", revision: "", loading: false, step: 2,

  begin(name, holder) {
    this.name = name;
    this.holder = holder;
    for (const chart of CHARTS) holder.append(this.figure(chart));
    new ResizeObserver(() => this.resize()).observe(holder);
    document.addEventListener("themechange", () => this.draw());
    this.reset();
  },

  figure(chart) {
    const figure = apiForms.make("figure", { id: `chart-${chart.id}` },
      apiForms.make("figcaption", {}, apiForms.make("span", {}, chart.title), apiForms.make("span", { class: "now", "aria-live": "off" })),
      apiForms.make("div", { class: "plot" }));
    return figure;
  },

  choose(span, revision) {
    this.span = span;
    this.revision = revision;
    this.reset();
  },

  async reset() {
    this.at = [];
    this.columns = {};
    this.generation = (this.generation ?? 0) + 1;
    this.loading = false;
    await this.load();
    this.draw();
  },

  async load() {
    if (this.loading) return false;
    this.loading = true;
    const asked = this.generation;
    try {
      // The last minute of the long span still grows: it is asked for again.
      const since = this.at.length ? this.at[this.at.length - 1] - (this.span ? this.step : 0) : 0;
      const query = new URLSearchParams({ since: String(since) });
      if (this.span) query.set("long", "true");
      if (this.revision) query.set("revision", this.revision);
      const response = await fetch(`/traffic/${encodeURIComponent(this.name)}?${query}`);
      if (!response.ok || asked !== this.generation) return false;
      this.join(await response.json());
      return true;
    } catch {
      return false; // the next tick asks again
    } finally {
      if (asked === this.generation) this.loading = false;
    }
  },

  join(found) {
    this.step = found.step_s;
    const keep = found.at.length ? this.at.filter((at) => at < found.at[0]).length : this.at.length;
    const most = this.span ? 1440 : 450;
    this.at = [...this.at.slice(0, keep), ...found.at].slice(-most);
    for (const [name, values] of Object.entries(found.columns))
      this.columns[name] = [...(this.columns[name] ?? []).slice(0, keep), ...values].slice(-most);
  },

  async tick() {
    if (!(await this.load())) return;
    for (const { chart, plot } of this.drawn) {
      plot.setData(this.data(chart), false);
      plot.setScale("x", this.range());
      this.sayNow(chart);
    }
    if (!this.drawn.length) this.draw();
  },

  data: (chart) => [trafficCharts.at, ...chart.series.map(([name]) => trafficCharts.columns[name] ?? [])],

  range() {
    const newest = this.at.length ? this.at[this.at.length - 1] : Date.now() / 1000;
    // What is known fills the width, be it less than was asked for.
    const oldest = Math.min(this.at.length ? this.at[0] : newest, newest - 60 * this.step);
    return { min: Math.max(oldest, newest - (this.span ? 86400 : 900)), max: newest };
  },

  draw() {
    for (const { plot } of this.drawn) plot.destroy();
    const styles = getComputedStyle(document.documentElement);
    this.drawn = CHARTS.map((chart) => {
      const place = byId(`chart-${chart.id}`).querySelector(".plot");
      const plot = new uPlot(this.options(chart, styles, place.clientWidth), this.data(chart), place);
      this.sayNow(chart);
      return { chart, plot, place };
    });
  },

  options(chart, styles, width) {
    const color = (name) => styles.getPropertyValue(name).trim();
    const axis = { stroke: color("--soft"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      width: Math.max(width, 120),
      height: 170,
      scales: { x: { range: () => { const { min, max } = trafficCharts.range(); return [min, max]; } }, y: { range: (_, _min, max) => [0, Math.max(max ?? 0, 1) * 1.1] } },
      axes: [{ ...axis, size: 32, space: 70, values: timesOf }, { ...axis, size: 52, values: (_, marks) => marks.map(shortNumber) }],
      cursor: { drag: { x: false, y: false } },
      legend: { live: true },
      series: [
        { label: "time", value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleTimeString([], { hourCycle: "h23" })) },
        ...chart.series.map(([, label, stroke]) => ({
          label, stroke: color(stroke), width: 1.5, points: { show: false },
          value: (_, value) => (value === null || value === undefined ? "–" : `${shortNumber(value)}${chart.unit}`),
        })),
      ],
    };
  },

  sayNow(chart) {
    const figure = byId(`chart-${chart.id}`);
    const last = this.at.length - 1;
    const known = chart.series.map(([name, label]) => [label, this.columns[name]?.[last]]).filter(([, value]) => value !== null && value !== undefined);
    const none = chart.none && !(this.columns[chart.series[0][0]] ?? []).some((value) => value !== null);
    figure.querySelector(".now").textContent = none ? chart.none
      : known.map(([label, value]) => `${label} ${shortNumber(value)}${chart.unit}`).join(" · ");
  },

  resize() {
    for (const { plot, place } of this.drawn)
      if (place.clientWidth && place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: 170 });
  },
};

function timesOf(_, marks) {
  return marks.map((at) => new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }));
}

function shortNumber(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  if (value >= 10000) return `${(value / 1000).toFixed(0)}k`;
  if (value >= 100) return value.toFixed(0);
  return String(Number(value.toPrecision(value < 1 ? 2 : 3)));
}
