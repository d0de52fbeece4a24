// The run table: sorted, filtered, searched, grouped over seeds, a page of rows at a time.

const ROWS = 12; // so that the charts below are in sight
const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
        if (key in made && key !== "list") made[key] = value;
        else made.setAttribute(key, value);
    }
    made.append(...children); // text is never read as HTML
    return made;
}

// Put other children into an element; what had the keyboard's focus has it again, by its data-key.
function refill(parent, ...children) {
    const focused = document.activeElement;
    const key = parent.contains(focused) ? focused.dataset.key : undefined;
    parent.replaceChildren(...children);
    if (key !== undefined) parent.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}

function columnsThatFit() {
    const varies = state.experiment ? objective().varies : [];
    const several = state.experiment ? [] : ["exp_name", "label", ...repeated];
    const { selected, report } = objective();
    const names = [...several, ...varies, selected, report, "status", "train_seconds"];
    return [...new Set(names)].filter((name) => COLUMNS.has(name));
}

const tableColumns = () => (state.columns ?? columnsThatFit()).map((name) => COLUMNS.get(name));

// -- rows: runs, or settings with the runs of each ------------------------------------------------------------------

function rows() {
    const list = state.grouped ? settingsBestFirst(shown) : bestFirst(shown).map((run) => [run]);
    return state.sort ? sorted(list, COLUMNS.get(state.sort.column), state.sort.descending) : list;
}

// The runs of each setting, the best setting first, by its mean.
function settingsBestFirst(runs) {
    const list = [...Map.groupBy(runs, settingOf).values()];
    const { selected, report, better } = objective();
    const column = COLUMNS.get(selected) ?? COLUMNS.get(report);
    return column ? sorted(list, column, better === "max") : list;
}

function sorted(list, column, descending) {
    const values = new Map(list.map((runs) => [runs, single(runs, column)]));
    return list.sort((a, b) => compared(values.get(a), values.get(b), descending));
}

const settingOf = (run) => `${experimentOf(run)}\n${textOf("label", run)}`;

// The one value of a row: the mean of a setting's runs, or what they have in common.
function single(runs, column) {
    const values = runs.map((run) => column.values[run]);
    if (runs.length === 1 || values.every((value) => value === values[0])) return values[0];
    const known = values.filter((value) => value !== null);
    return column.numeric && column.kind !== "hyper" && known.length ? mean(known) : null;
}

const deviation = (values) => {
    const middle = mean(values);
    return Math.sqrt(values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1));
};

function cellText(runs, column) {
    const value = single(runs, column);
    if (runs.length === 1) return formatted(column, value);
    if (column.name === "status") return counted(runs.map((run) => textOf("status", run)));
    if (value === null) {
        const several = distinct(runs.map((run) => column.values[run]));
        return several.length > 3
            ? `${several.length} values`
            : several.map((one) => formatted(column, one)).join(", ");
    }
    const known = runs.map((run) => column.values[run]).filter((one) => one !== null);
    if (typeof value !== "number" || column.kind === "hyper" || known.length < 2) return formatted(column, value);
    const spread = deviation(known);
    return `${formatted(column, value)} ± ${column.fraction ? formatted(column, spread) : Number(spread.toPrecision(2))}`;
}

function counted(words) {
    return [...Map.groupBy(words, (word) => word)].map(([word, all]) => `${all.length} ${word}`).join(", ");
}

// -- drawing --------------------------------------------------------------------------------------------------------

let head = ""; // the columns that the head was made for

function drawTable() {
    const columns = tableColumns();
    const signature = JSON.stringify([columns.map((column) => column.name), state.grouped]);
    if (signature !== head) drawHead(columns);
    head = signature;
    updateHead(columns);

    const list = rows();
    const nPages = Math.max(1, Math.ceil(list.length / ROWS));
    const page = Math.min(state.page, nPages - 1);
    const body = byId("runs").tBodies[0];
    refill(body, ...list.slice(page * ROWS, (page + 1) * ROWS).map((runs) => rowOf(runs, columns)));
    drawPager(page, nPages, list.length);

    const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
    const runs = counted(shown.length, "run");
    const what = state.grouped ? `${counted(list.length, "setting")} with ${runs}` : runs;
    const all = shown.length < scope.length ? ` of ${scope.length}` : "";
    const ticked = state.ticked.size ? `, ${state.ticked.size} ticked` : "";
    byId("shown").textContent = `${what}${all}${ticked}${state.sort ? "" : "; best first"}`;
    byId("export").textContent = state.ticked.size ? "Export ticked as CSV" : "Export as CSV";
}

function drawHead(columns) {
    const all = element("input", { type: "checkbox", ariaLabel: "Tick every run that is shown" });
    all.addEventListener("change", () => tick(shown, all.checked));
    const names = columns.map((column) => {
        const button = element("button", { type: "button", title: [column.name, column.doc].join(": ") }, "");
        button.addEventListener("click", () => sortBy(column));
        return element("th", { scope: "col", className: isNumber(column) ? "number" : "" }, button);
    });
    const filters = columns.map((column) => {
        const input = element("input", { type: "text", placeholder: "filter", ariaLabel: `Filter ${column.title}` });
        input.dataset.column = column.name;
        input.addEventListener("input", () => setFilter({ [column.name]: input.value }));
        return element("td", {}, input);
    });
    const count = state.grouped ? [element("th", { className: "number" }, "runs")] : [];
    const head = byId("runs").tHead;
    head.replaceChildren(
        element("tr", {}, element("th", {}, all), ...count, ...names),
        element("tr", {}, element("td"), ...count.map(() => element("td")), ...filters),
    );
}

const isNumber = (column) => column.numeric && column.kind !== "hyper";

function updateHead(columns) {
    const [names, filters] = byId("runs").tHead.rows;
    const all = names.querySelector("input");
    const nTicked = shown.filter((run) => state.ticked.has(run)).length;
    all.checked = nTicked > 0 && nTicked === shown.length;
    all.indeterminate = nTicked > 0 && nTicked < shown.length;
    columns.forEach((column, i) => {
        const sort = state.sort?.column === column.name ? (state.sort.descending ? "descending" : "ascending") : "none";
        const cell = names.cells[i + 1 + Number(state.grouped)];
        cell.ariaSort = sort;
        cell.querySelector("button").textContent =
            titleOf(column) + { none: "", ascending: " ↑", descending: " ↓" }[sort];
        const input = filters.cells[i + 1 + Number(state.grouped)].querySelector("input");
        const text = state.filters.get(column.name) ?? "";
        if (input.value !== text) input.value = text;
        input.ariaInvalid = String(filterOf(text, column) === null);
    });
}

function sortBy(column) {
    const first = column.better === "max"; // the best first, else the smallest
    if (state.sort?.column !== column.name) change({ sort: { column: column.name, descending: first } });
    else if (state.sort.descending === first) change({ sort: { column: column.name, descending: !first } });
    else change({ sort: null });
}

function rowOf(runs, columns) {
    const isTicked = runs.every((run) => state.ticked.has(run));
    const box = element("input", {
        type: "checkbox",
        checked: isTicked,
        ariaLabel: `Tick ${state.grouped ? labelOf(runs[0]) : nameOf(runs[0])}`,
    });
    box.dataset.key = runs[0];
    box.addEventListener("change", () => tick(runs, box.checked));
    const diverged = runs.every((run) => textOf("status", run) === "diverged");
    const count = state.grouped ? [element("td", { className: "number" }, String(runs.length))] : [];
    const cells = columns.map((column) =>
        element("td", { className: isNumber(column) ? "number" : "" }, cellText(runs, column)),
    );
    const classes = [isTicked && "ticked", diverged && "diverged"].filter(Boolean).join(" ");
    const row = element("tr", { className: classes }, element("td", {}, box), ...count, ...cells);
    row.runs = runs;
    for (const event of ["mouseenter", "focusin"]) row.addEventListener(event, () => pointAt(runs));
    for (const event of ["mouseleave", "focusout"]) row.addEventListener(event, () => pointAt([]));
    return row;
}

function drawPager(page, nPages, n) {
    const turn = (words, to) => {
        const button = element("button", { type: "button", disabled: to < 0 || to >= nPages }, words);
        button.dataset.key = words;
        button.addEventListener("click", () => change({ page: to }));
        return button;
    };
    const from = page * ROWS + 1;
    const place = `${from} to ${Math.min(n, from + ROWS - 1)} of ${n}`;
    const parts = [turn("First", page ? 0 : -1), turn("Back", page - 1), place, turn("Next", page + 1)];
    refill(byId("pager"), ...(nPages > 1 ? parts : []));
}

function drawChips() {
    const chips = [...state.filters].map(([name, text]) => {
        const button = element("button", { type: "button", title: "Take this filter away" }, `${name}: ${text} ×`);
        button.addEventListener("click", () => setFilter({ [name]: "" }));
        return button;
    });
    byId("chips").replaceChildren(...chips);
}

function drawColumnMenu() {
    const used = new Set(tableColumns().map((column) => column.name));
    const menu = byId("columns").querySelector("div");
    if (!byId("columns").open || menu.childElementCount) {
        for (const box of menu.querySelectorAll("input")) box.checked = used.has(box.value);
        return;
    }
    menu.replaceChildren(
        ...[...COLUMNS.values()].map((column) => {
            const box = element("input", { type: "checkbox", value: column.name, checked: used.has(column.name) });
            box.addEventListener("change", () => {
                const now = new Set(tableColumns().map((one) => one.name));
                if (box.checked) now.add(column.name);
                else now.delete(column.name);
                change({ columns: [...now], page: state.page });
            });
            return element("label", { title: column.doc }, box, ` ${column.name}`);
        }),
    );
}

// -- export ---------------------------------------------------------------------------------------------------------

function csv(runs) {
    const quoted = (value) => {
        const text = value === null ? "" : String(value);
        return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const columns = [...COLUMNS.values()];
    const lines = [
        columns.map((column) => column.name),
        ...runs.map((run) => columns.map((column) => column.values[run])),
    ];
    return lines.map((line) => line.map(quoted).join(",")).join("\r\n") + "\r\n";
}

function download(name, text) {
    const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    const anchor = element("a", { href: url, download: name });
    document.body.append(anchor);
    anchor.click();
    anchor.remove();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
}
