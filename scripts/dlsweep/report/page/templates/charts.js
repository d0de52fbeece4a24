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

// A column as an axis: numbers on a scale, of logarithms where they span decades; all else side by side. The library
// gets words as numbers, for it reads some text as commands.
function axisOf(column, runs) {
    const values = distinct(runs.map((run) => column.values[run]));
    if (!column.numeric) {
        const places = new Map(values.map((value, i) => [value, i]));
        const words = values.map(String);
        return {
            type: "category",
            words,
            option: { type: "category", data: words.map((word, i) => i) },
            place: (value) => places.get(value) ?? null,
            text: (at, most = 16) => painted(words[Number(at)] ?? "", most),
        };
    }
    const [least, most] = [values[0] ?? 0, values.at(-1) ?? 1];
    const middle = (part) => values[Math.floor(part * (values.length - 1))];
    // Values that are uniform from near 0 span decades too, but few of them lie there.
    const type = least > 0 && most / least >= 50 && middle(0.75) / middle(0.25) >= 5 ? "log" : "value";
    const margin = least === most ? Math.abs(least) || 1 : 0;
    const ends = type === "log" ? { min: least, max: most } : { min: least - margin, max: most + margin };
    return {
        type,
        ...ends,
        isFraction: column.fraction,
        option: { type, ...ends },
        place: (value) => value,
        text: tidy,
    };
}

// A colour for each run by a column: shades for numbers, in which an outlier hides nothing; else one for each word.
function coloursBy(column, runs) {
    const known = runs.map((run) => column.values[run]).filter((value) => value !== null);
    if (column.numeric && new Set(known).size > PALETTE.length) {
        known.sort((a, b) => a - b);
        const [low, high] = [known[Math.floor(0.05 * known.length)], known[Math.floor(0.95 * (known.length - 1))]];
        return (run) => shade(column.values[run], low, high, column.better === "min");
    }
    const words = distinct(known);
    return (run) =>
        column.values[run] === null ? css("--mute") : PALETTE[words.indexOf(column.values[run]) % PALETTE.length];
}

function shade(value, low, high, flipped) {
    if (value === null) return css("--mute");
    const part = high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 1;
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

// The text of a filter that lets through what lies in the intervals of an axis.
function filterFor(column, axis, intervals) {
    if (!column.numeric) {
        const inside = (at) => intervals.some(([low, high]) => at >= Math.min(low, high) && at <= Math.max(low, high));
        return axis.words
            .filter((word, at) => inside(at))
            .map(exactly)
            .join("|");
    }
    return intervals.map(([low, high]) => `${tidy(Math.min(low, high))}..${tidy(Math.max(low, high))}`).join("|");
}
