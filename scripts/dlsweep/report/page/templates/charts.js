// What the charts have in common: colours, axes and hints.

const PALETTE = [
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#ca9161",
    "#fbafe4",
    "#949494",
    "#ece133",
    "#56b4e9",
];
const VIRIDIS = [
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
];
const charts = new Map();

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// The chart in an element, made when it is first drawn into.
function chartIn(id) {
    if (!charts.has(id)) {
        const chart = echarts.init(byId(id), null, { renderer: "canvas" });
        new ResizeObserver(() => chart.resize()).observe(byId(id));
        charts.set(id, chart);
    }
    return charts.get(id);
}

// -- what the mouse or the keyboard is on in one view stands out in all of them --------------------------------------

const drawnRuns = new Map(); // of each chart: its runs, or lists of those that share a line, in the order of drawing
let lit = []; // what stands out: a chart, and what of it

function pointAt(runs) {
    for (const [id, target] of lit) charts.get(id).dispatchAction({ type: "downplay", ...target });
    lit = [];
    for (const [id, drawn] of drawnRuns) {
        const places = new Set(runs.map((run) => drawn.findIndex((one) => one === run || one.includes?.(run))));
        places.delete(-1);
        for (const at of places)
            lit.push([id, id === "curves" ? { seriesIndex: at } : { seriesIndex: 0, dataIndex: at }]);
    }
    for (const [id, target] of lit) charts.get(id).dispatchAction({ type: "highlight", ...target });
    for (const row of byId("runs").tBodies[0].rows)
        row.classList.toggle("near", row.runs.some((run) => runs.includes(run)));
}

// Call it once for each chart; `indexOf` says which of its runs an event is of.
function pointsOut(id, indexOf) {
    const chart = charts.get(id);
    chart.on("mouseover", (at) => pointAt([drawnRuns.get(id)[indexOf(at)]].flat()));
    chart.on("mouseout", () => pointAt([]));
    chart.getZr().on("globalout", () => pointAt([]));
}

const base = () => ({
    animation: false,
    textStyle: { color: css("--ink"), fontFamily: "system-ui, sans-serif" },
    tooltip: {
        backgroundColor: css("--paper"),
        borderColor: css("--strong-line"),
        textStyle: { color: css("--ink") },
        confine: true,
        transitionDuration: 0,
    },
});

function axisStyle() {
    return {
        axisLine: { lineStyle: { color: css("--strong-line") } },
        axisTick: { lineStyle: { color: css("--strong-line") } },
        axisLabel: { color: css("--soft"), hideOverlap: true },
        nameTextStyle: { color: css("--soft") },
        splitLine: { lineStyle: { color: css("--line") } },
    };
}

// A column as an axis: numbers on a scale, of logarithms where they span decades; all else side by side.
function axisOf(column, runs) {
    const values = distinct(runs.map((run) => column.values[run]));
    if (!column.numeric) return sideBySide(column, values);
    const [least, most] = [values[0] ?? 0, values.at(-1) ?? 1];
    const middle = (part) => values[Math.floor(part * (values.length - 1))];
    // Values that are uniform from near 0 span decades too, but few of them lie there.
    const type = least > 0 && most / least >= 50 && middle(0.75) / middle(0.25) >= 5 ? "log" : "value";
    const margin = least === most ? Math.abs(least) || 1 : 0;
    const ends = type === "log" ? { min: least, max: most } : { min: least - margin, max: most + margin };
    if (margin && column.fraction) Object.assign(ends, { min: Math.min(least, 0), max: Math.max(most, 1) });
    return {
        type,
        ...ends,
        isFraction: column.fraction,
        option: { type, ...ends },
        place: (value) => value,
        text: tidy,
    };
}

// Values side by side. The library gets them as numbers, for it reads some text as commands.
function sideBySide(column, values) {
    const places = new Map(values.map((value, i) => [value, i]));
    return {
        type: "category",
        values,
        option: { type: "category", data: values.map((value, i) => i) },
        place: (value) => places.get(value) ?? null,
        text: (at, most = 16) => painted(formatted(column, values[Number(at)]), most),
    };
}

// A number for each run by its rank, from 0 to 1, so that no outlier takes the others their colours.
function ranks(column, runs) {
    const sorted = runs.map((run) => column.values[run]).filter((value) => value !== null);
    sorted.sort((a, b) => a - b);
    const places = new Map();
    for (let i = 0, j; i < sorted.length; i = j) {
        for (j = i; j < sorted.length && sorted[j] === sorted[i]; ) j++;
        places.set(sorted[i], sorted.length > 1 ? (i + j - 1) / 2 / (sorted.length - 1) : 1);
    }
    return places;
}

// A colour for each run by a column, shades by rank for many numbers, else one for each value; and what they mean.
function coloursBy(column, runs) {
    const values = distinct(runs.map((run) => column.values[run]));
    if (column.numeric && values.length > PALETTE.length) {
        const places = ranks(column, runs);
        const flipped = column.better === "min";
        const paint = (run) =>
            column.values[run] === null ? css("--mute") : shade(places.get(column.values[run]), flipped);
        const middle = values.find((value) => places.get(value) >= 0.5);
        const ends = [values[0], middle, values.at(-1)].map((value) => formatted(column, value));
        paint.legend = scale(ends, flipped);
        return paint;
    }
    const paint = (run) =>
        column.values[run] === null ? css("--mute") : PALETTE[values.indexOf(column.values[run]) % PALETTE.length];
    paint.legend = swatches(
        values.slice(0, 12).map((value, i) => [PALETTE[i % PALETTE.length], short(formatted(column, value))]),
    );
    return paint;
}

// The line above a chart on shades: the lowest, the middle one by rank, the highest.
function scale([low, middle, high], flipped) {
    const bar = (from, to) => {
        const drawn = element("i", { className: "bar" });
        const stops = [0, 0.25, 0.5, 0.75, 1].map((part) => shade(from + part * (to - from), flipped));
        drawn.style.background = `linear-gradient(to right, ${stops})`;
        return drawn;
    };
    return [element("span", {}, low, bar(0, 0.5), middle, bar(0.5, 1), high)];
}

function shade(part, flipped) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const seen = dark ? VIRIDIS.slice(2) : VIRIDIS.slice(0, -1); // without the ends that the background swallows
    const at = (flipped ? 1 - part : part) * (seen.length - 1);
    const [first, second] = [seen[Math.floor(at)], seen[Math.ceil(at)]];
    const mixed = [1, 3, 5].map((i) => {
        const [a, b] = [first, second].map((hex) => parseInt(hex.slice(i, i + 2), 16));
        return Math.round(a + (b - a) * (at % 1));
    });
    return `rgb(${mixed})`;
}

// A hint: its lines as text, each with a colour or without.
function hint(title, lines) {
    const box = element("div", { className: "tip" }, element("b", {}, title));
    for (const [color, text] of lines) {
        const swatch = element("i");
        swatch.style.background = color || "transparent";
        box.append(element("div", {}, ...(color ? [swatch] : []), text));
    }
    return box;
}

// Colours with their words, for the line above a chart.
function swatches(legend) {
    return legend.map(([color, text]) => {
        const swatch = element("i");
        swatch.style.background = color;
        return element("span", {}, swatch, text);
    });
}

const short = (text, most = 40) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
// Text for the canvas. The library keeps what it has measured under the text itself, so a word such as __proto__ would
// change every object; with a space of no width behind it there is none such.
const painted = (text, most) => `${short(text, most)}\u200b`;
const tidy = (value) => String(Number(value.toPrecision(3)));

function runHint(run, color) {
    const { selected, report, varies } = objective();
    const names = [...new Set([...varies, report, selected, "status"])].filter((name) => COLUMNS.has(name));
    const lines = names
        .map((name) => COLUMNS.get(name))
        .filter((column) => column.values[run] !== null)
        .map((column) => ["", `${column.title}: ${formatted(column, column.values[run])}`]);
    return hint(nameOf(run), [...(color ? [[color, experimentOf(run)]] : []), ...lines]);
}

// The text of a filter that lets through what lies in the intervals of an axis. An end of it that holds what lies
// beyond, too, is no bound.
function filterFor(column, axis, intervals) {
    if (axis.values) {
        const inside = (at) => intervals.some(([low, high]) => at >= Math.min(low, high) && at <= Math.max(low, high));
        return axis.values
            .filter((value, at) => inside(at))
            .map((value) => (column.numeric ? String(value) : exactly(value)))
            .join("|");
    }
    const bound = (value, end, isOpen) => (isOpen && value === end ? "" : tidy(value));
    return intervals
        .map((ends) => [Math.min(...ends), Math.max(...ends)])
        .map(([low, high]) => `${bound(low, axis.min, axis.below)}..${bound(high, axis.max, axis.above)}`)
        .join("|");
}
