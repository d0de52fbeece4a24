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

// What a curve of a run is over, and where its points lie among those of all runs.
const STARTS = [];
let nPoints = 0;
for (const over of DATA.curves.of) {
    STARTS.push(nPoints);
    nPoints += over < 0 ? 0 : DATA.curves.epochs[over].length;
}
function curveOf(run, metric, x) {
    const over = DATA.curves.of[run];
    if (over < 0) return [];
    const epochs = DATA.curves.epochs[over];
    const values = DATA.curves.values[metric];
    const along = x === "epoch" ? null : DATA.curves.values[x];
    return epochs.map((epoch, i) => [along ? along[STARTS[run] + i] : epoch, values[STARTS[run] + i], epoch]);
}
