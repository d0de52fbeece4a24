// What is shown: one state that every view reads, and the fragment of the page's address that says it.
// A brush is a filter like one that is typed, so a filter is all that a link must know.

const state = {};
const views = []; // functions that draw what they show anew, at once
const slowViews = []; // the charts, which follow a moment later

function initialState(experiment) {
    const first = DATA.experiments.find((one) => COLUMNS.get("exp_name")?.values.includes(one.name));
    return {
        experiment: experiment ?? first?.name ?? "",
        search: "",
        grouped: false,
        filters: new Map(),
        sort: null, // {column, descending}; null: best first
        columns: null, // names; null: those that fit
        ticked: new Set(),
        page: 0,
        x: "",
        y: "",
        color: "",
        curve: "",
        over: "epoch",
        log: false,
    };
}

const objective = () => EXPERIMENTS.get(state.experiment) ?? DATA.experiments[0];

// -- which runs are shown -------------------------------------------------------------------------------------------

function filterOf(text, column) {
    // Returns a function that says whether a value passes; null where the text cannot be understood.
    let words = text.trim();
    if (!words) return () => true;
    const negated = words.startsWith("!");
    if (negated) words = words.slice(1).trim();
    const tests = words.split(/(?<!\\)\|/).map((word) => oneOf(word.trim().replaceAll("\\|", "|"), column));
    if (tests.includes(null)) return null;
    return (value) => tests.some((test) => test(value)) !== negated;
}

function oneOf(word, column) {
    if (word === "none") return (value) => value === null;
    if (!column.numeric) {
        if (word.startsWith("=")) return (value) => value !== null && String(value) === word.slice(1);
        const part = word.toLowerCase();
        return (value) => value !== null && String(value).toLowerCase().includes(part);
    }
    const range = word.match(/^(.*?)\.\.(.*)$/);
    if (range) {
        const [low, high] = [numberOf(range[1], -Infinity), numberOf(range[2], Infinity)];
        return Number.isNaN(low) || Number.isNaN(high)
            ? null
            : (value) => value !== null && value >= low && value <= high;
    }
    const [, sign, rest] = word.match(/^(>=|<=|>|<|=)?(.*)$/s);
    const number = numberOf(rest, NaN);
    if (Number.isNaN(number)) return null;
    const tests = {
        ">": (value) => value > number,
        ">=": (value) => value >= number,
        "<": (value) => value < number,
        "<=": (value) => value <= number,
    };
    const test = tests[sign] ?? ((value) => Math.abs(value - number) <= 1e-6 * Math.abs(number)); // six digits are kept
    return (value) => value !== null && test(value);
}

const numberOf = (text, otherwise) => (text.trim() === "" ? otherwise : Number(text));
const exactly = (value) => `=${String(value).replaceAll("|", "\\|")}`;

let haystacks = null;
function haystack(run) {
    haystacks ??= new Array(N_RUNS);
    haystacks[run] ??= [...COLUMNS.values()]
        .filter((column) => column.kind === "hyper" || !column.numeric)
        .map((column) => `${column.name}=${column.values[run]}`)
        .join(" ")
        .toLowerCase();
    return haystacks[run];
}

let scope = []; // the runs of the experiment
let shown = []; // those of them that pass search and filters

function select() {
    const names = COLUMNS.get("exp_name")?.values ?? [];
    scope = [];
    for (let run = 0; run < N_RUNS; run++) if (!state.experiment || names[run] === state.experiment) scope.push(run);
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const tests = [];
    for (const [name, text] of state.filters) {
        const column = COLUMNS.get(name);
        const test = column && filterOf(text, column);
        if (test) tests.push((run) => test(column.values[run]));
    }
    shown = scope.filter(
        (run) => tests.every((test) => test(run)) && words.every((word) => haystack(run).includes(word)),
    );
}

// The best first, by what settings are selected by; then those that have no value.
function bestFirst(runs) {
    const { selected, report, better } = objective();
    const column = COLUMNS.get(selected) ?? COLUMNS.get(report);
    if (!column) return [...runs];
    return [...runs].sort((a, b) => compared(column.values[a], column.values[b], better === "max"));
}

const chosen = () => (state.ticked.size ? scope.filter((run) => state.ticked.has(run)) : shown);

// -- change ---------------------------------------------------------------------------------------------------------

let drawing = 0;
function change(update) {
    Object.assign(state, "page" in update ? {} : { page: 0 }, update);
    select();
    writeLink();
    for (const draw of views) draw();
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(() => slowViews.forEach((draw) => draw()));
}

function setFilter(changes) {
    const filters = new Map(state.filters);
    for (const [name, text] of Object.entries(changes)) {
        if (text) filters.set(name, text);
        else filters.delete(name);
    }
    change({ filters });
}

function tick(runs, on) {
    const ticked = new Set(state.ticked);
    for (const run of runs) {
        if (on) ticked.add(run);
        else ticked.delete(run);
    }
    change({ ticked, page: state.page });
}

// -- the link -------------------------------------------------------------------------------------------------------

const PREFIX = "#explore?";
const MOST_LINKED = 300; // ticked runs; more make an address that programs cut off
const DIGITS_LINKED = 12; // of a hash

function link() {
    const said = new URLSearchParams();
    const plain = { q: state.search, x: state.x, y: state.y, color: state.color, curve: state.curve };
    said.set("exp", state.experiment);
    for (const [key, value] of Object.entries(plain)) if (value) said.set(key, value);
    if (state.over !== "epoch") said.set("over", state.over);
    if (state.grouped) said.set("group", "1");
    if (state.log) said.set("log", "1");
    if (state.sort) said.set("sort", (state.sort.descending ? "-" : "") + state.sort.column);
    if (state.columns) said.set("columns", state.columns.join(","));
    for (const [name, text] of state.filters) said.set(`f.${name}`, text);
    if (state.ticked.size && state.ticked.size <= MOST_LINKED) {
        said.set(
            "pick",
            [...state.ticked]
                .map((run) => `${experimentOf(run)}:${textOf("hash", run).slice(0, DIGITS_LINKED)}`)
                .join(","),
        );
    }
    return PREFIX + said;
}

let written = "";
function writeLink() {
    written = link();
    try {
        history.replaceState(null, "", written);
    } catch {
        // a browser that lets no file change its address; "Copy link" works all the same
    }
}

function readLink() {
    // Returns whether the address says what is to be seen.
    if (!location.hash.startsWith(PREFIX)) return false;
    const said = new URLSearchParams(location.hash.slice(PREFIX.length));
    const get = (key) => said.get(key) ?? "";
    const known = (key) => (COLUMNS.has(get(key)) ? get(key) : "");
    Object.assign(
        state,
        initialState(said.has("exp") && (!get("exp") || EXPERIMENTS.has(get("exp"))) ? get("exp") : null),
        {
            search: get("q"),
            grouped: get("group") === "1",
            log: get("log") === "1",
            x: known("x"),
            y: known("y"),
            color: known("color"),
            curve: get("curve") in DATA.curves.values ? get("curve") : "",
            over: SPENT.has(get("over")) ? get("over") : "epoch",
        },
    );
    const sort = get("sort").replace(/^-/, "");
    if (COLUMNS.has(sort)) state.sort = { column: sort, descending: get("sort").startsWith("-") };
    if (said.has("columns"))
        state.columns = get("columns")
            .split(",")
            .filter((name) => COLUMNS.has(name));
    for (const [key, text] of said)
        if (key.startsWith("f.") && COLUMNS.has(key.slice(2))) state.filters.set(key.slice(2), text);
    const picked = new Set(get("pick").split(","));
    if (get("pick")) {
        for (let run = 0; run < N_RUNS; run++) {
            if (picked.has(`${experimentOf(run)}:${textOf("hash", run).slice(0, DIGITS_LINKED)}`))
                state.ticked.add(run);
        }
    }
    return true;
}
