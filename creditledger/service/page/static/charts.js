// Draws, with uPlot, the charts whose numbers stand in tables: the tables stay, and are all it reads.
(() => {
  const drawn = new Map();

  const numbersOf = (table) => {
    const rows = [...table.querySelectorAll("tbody tr")].filter((row) => row.querySelector("[data-value]"));
    const column = (at, read) => rows.map((row) => read(row.children[at].dataset));
    const heads = [...table.querySelectorAll("thead th")];
    const values = heads.slice(1).map((_, at) => at + 1).filter((at) => "value" in (rows[0]?.children[at].dataset ?? {}));
    const names = [heads[0], ...values.map((at) => heads[at])].map((head) => head.textContent.trim());
    const columns = [
      column(0, (data) => Number(data.ms) / 1000),
      ...values.map((at) => column(at, (data) => Number(data.value))),
    ];
    const { limit, limitName } = table.dataset;
    if (limit !== undefined) {
      names.push(limitName);
      columns.push(rows.map(() => Number(limit)));
    }
    return { names, columns };
  };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const axis = (values) => ({
    stroke: colour("--soft"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: "12px system-ui, sans-serif",
    ...values,
  });

  const DAY = 86400;
  const two = (number) => String(number).padStart(2, "0");
  const timesOf = (plot, ticks) => {
    const span = plot.scales.x.max - plot.scales.x.min;
    return ticks.map((seconds) => {
      const time = new Date(seconds * 1000);
      const day = `${two(time.getUTCMonth() + 1)}-${two(time.getUTCDate())}`;
      const clock = `${two(time.getUTCHours())}:${two(time.getUTCMinutes())}`;
      if (span > 300 * DAY) return `${time.getUTCFullYear()}-${day.slice(0, 2)}`;
      if (span > 4 * DAY) return day;
      if (span > DAY) return `${day} ${clock}`;
      return span > 600 ? clock : `${clock}:${two(time.getUTCSeconds())}`;
    });
  };

  const optionsOf = (figure, names, width) => {
    const isPoints = "points" in figure.dataset;
    const number = new Intl.NumberFormat("en", { maximumFractionDigits: 3 });
    const lowest = isPoints ? null : 0;
    return {
      width,
      height: 240,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      scales: { y: { range: (_, low, high) => uPlot.rangeNum(lowest ?? low, high, 0.1, true) } },
      axes: [axis({ space: 90, values: timesOf }), axis({ size: 64, values: (_, ticks) => ticks.map((one) => number.format(one)) })],
      series: [
        { label: `${names[0]} (UTC)`, value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
        ...names.slice(1).map((label, at) => ({
          label,
          stroke: colour(at ? "--refuted" : "--accent"),
          fill: isPoints ? undefined : `${colour("--accent")}24`,
          width: at ? 1.5 : 2,
          dash: at ? [6, 4] : undefined,
          paths: isPoints ? undefined : uPlot.paths.stepped({ align: 1 }),
          points: { show: isPoints && at === 0, size: 6 },
          value: (_, value) => (value === null ? "" : number.format(value)),
        })),
      ],
      cursor: { drag: { x: false, y: false } },
    };
  };

  const draw = (figure) => {
    const table = document.getElementById(figure.dataset.chart);
    const place = figure.querySelector(".plot");
    if (table === null || place === null || place.clientWidth === 0) return;
    const { names, columns } = numbersOf(table);
    if (columns[0].length < 2) return;
    drawn.get(figure)?.destroy();
    const label = figure.querySelector("svg")?.getAttribute("aria-label") ?? place.getAttribute("aria-label");
    place.replaceChildren();
    place.setAttribute("role", "img");
    if (label) place.setAttribute("aria-label", label);
    drawn.set(figure, new uPlot(optionsOf(figure, names, place.clientWidth), columns, place));
  };

  const drawAll = () => {
    for (const figure of drawn.keys()) if (!figure.isConnected) drawn.delete(figure);
    for (const figure of document.querySelectorAll("figure[data-chart]")) draw(figure);
  };

  let width = 0;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    drawAll();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "live") drawAll();
  });
})();
