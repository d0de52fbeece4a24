// The runs of the sweep, a number each from 0, and their columns.

const DATA = JSON.parse(document.getElementById("data").textContent);
const N_RUNS = DATA.runs;
const EXPERIMENTS = new Map(DATA.experiments.map((one) => [one.name, one]));

function unpacked(packed) {
    if (Array.isArray(packed)) return packed;
    if ("same" in packed) return new Array(N_RUNS).fill(packed.same);
    return packed.at.map((at) => (at < 0 ? null : packed.words[at]));
}

const COLUMNS = new Map(
    DATA.columns.map((column) => {
        const values = unpacked(column.values);
        const numeric = values.every((value) => value === null || typeof value === "number");
        return [column.name, { ...column, values, numeric }];
    }),
);

const textOf = (name, run) => String(COLUMNS.get(name)?.values[run] ?? "");
const experimentOf = (run) => textOf("exp_name", run);
const labelOf = (run) => textOf("label", run) || textOf("hash", run).slice(0, 8);
const REPLICATES = ["seed", "split_seed", "fold"]; // what tells the repetitions of a setting apart
const isRepeated = (name) => (COLUMNS.get(name)?.values ?? []).some((value, i, all) => value !== all[0]);
const repeated = REPLICATES.filter(isRepeated);
const nameOf = (run) => [labelOf(run), ...repeated.map((name) => `${name} ${textOf(name, run)}`)].join(", ");
const titleOf = (column) =>
    column.unit && column.kind !== "hyper" ? `${column.title} (${column.unit})` : column.title;

function formatted(column, value) {
    if (value === null || value === undefined) return "";
    if (typeof value !== "number") return String(value);
    if (column.fraction) return value.toFixed(4);
    return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

// Numbers by size, text by its numbers too (4, 16, full), what is missing last whichever way.
function compared(a, b, descending) {
    const missing = (a === null) - (b === null);
    if (missing || a === null) return missing;
    const order = typeof a === "number" && typeof b === "number" ? a - b : natural.compare(String(a), String(b));
    return descending ? -order : order;
}
const natural = new Intl.Collator("en", { numeric: true });

const distinct = (values) => [...new Set(values)].filter((value) => value !== null).sort((a, b) => compared(a, b));

// Where the curve of a run lies among the points of all, and what it can be over.
const STARTS = [];
let nPoints = 0;
for (const over of DATA.curves.of) {
    STARTS.push(nPoints);
    nPoints += over < 0 ? 0 : DATA.curves.epochs[over].length;
}
const SPENT = new Map([
    ["epoch", "epoch"],
    ...(DATA.curves.steps.length ? [["updates", "updates"]] : []),
    ...DATA.curves.metrics.filter((one) => one.name === "elapsed").map((one) => [one.name, one.title]),
]);

// The points of a curve, as [what was spent, value, epoch]; those that lack one of these are left out.
function curveOf(run, metric, over) {
    const kind = DATA.curves.of[run];
    if (kind < 0) return [];
    const spent = {
        epoch: (i, epoch) => epoch,
        updates: (i, epoch) => (DATA.curves.steps[run] ? epoch * DATA.curves.steps[run] : null),
        elapsed: (i) => DATA.curves.values.elapsed[STARTS[run] + i],
    }[over];
    const values = DATA.curves.values[metric];
    return DATA.curves.epochs[kind]
        .map((epoch, i) => [spent(i, epoch), values[STARTS[run] + i], epoch])
        .filter(([x, y]) => x !== null && y !== null);
}

// The mean of several curves at each epoch until the first of them ends, as [spent, mean, lowest, highest].
function meanCurve(curves) {
    const ends = curves.map((curve) => curve.at(-1)[2]);
    const first = curves[ends.indexOf(Math.min(...ends))];
    const begin = Math.max(...curves.map((curve) => curve[0][2]));
    return first
        .filter(([, , epoch]) => epoch >= begin)
        .map(([, , epoch]) => {
            const there = curves.map((curve) => atEpoch(curve, epoch));
            const values = there.map(([, y]) => y);
            return [mean(there.map(([x]) => x)), mean(values), Math.min(...values), Math.max(...values)];
        });
}

// A curve at an epoch; between two of its points where it is thinned otherwise than the others.
function atEpoch(curve, epoch) {
    const at = curve.findIndex((point) => point[2] >= epoch);
    const [before, after] = [curve[Math.max(at - 1, 0)], curve[at]];
    const part = after[2] === before[2] ? 1 : (epoch - before[2]) / (after[2] - before[2]);
    return [0, 1].map((i) => before[i] + part * (after[i] - before[i]));
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
