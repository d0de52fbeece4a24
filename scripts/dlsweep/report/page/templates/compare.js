// The ticked runs side by side: the settings in which they differ, then every metric, the best in bold.

const MOST_COMPARED = 8;

function drawCompare() {
    const runs = bestFirst(scope.filter((run) => state.ticked.has(run))).slice(0, MOST_COMPARED);
    const frame = byId("compare");
    if (runs.length < 2) {
        frame.replaceChildren(
            element("p", { className: "note" }, "Tick two runs or more in the table to see where they differ."),
        );
        return;
    }
    const color = lineColours(curveLines());
    const heads = runs.map((run) => {
        const swatch = element("span", { className: "swatch" });
        swatch.style.background = color(run);
        return element("th", { scope: "col" }, swatch, nameOf(run));
    });
    const columns = [...COLUMNS.values()].filter((column) => !column.hidden || column.name === "exp_name");
    const settings = columns.filter((column) => column.kind === "hyper" && differ(runs, column));
    const results = columns.filter(
        (column) => column.kind !== "hyper" && differ(runs, column) && column.name !== "hash",
    );
    const body = element(
        "tbody",
        {},
        ...settings.map((column) => comparedRow(runs, column, "differs")),
        ...results.map((column) => comparedRow(runs, column, "")),
    );
    const nMore = state.ticked.size - runs.length;
    frame.replaceChildren(
        element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...heads)), body),
        ...(nMore > 0
            ? [element("p", { className: "note" }, `The best ${runs.length} of ${state.ticked.size} ticked runs.`)]
            : []),
    );
}

const differ = (runs, column) => runs.some((run) => column.values[run] !== column.values[runs[0]]);

function comparedRow(runs, column, className) {
    const known = runs.map((run) => column.values[run]).filter((value) => value !== null);
    const best = column.numeric && { max: Math.max(...known), min: Math.min(...known) }[column.better];
    const cells = runs.map((run) =>
        element(
            "td",
            { className: column.better && column.values[run] === best ? "winner" : "" },
            formatted(column, column.values[run]),
        ),
    );
    return element("tr", { className }, element("th", { scope: "row", title: column.doc }, titleOf(column)), ...cells);
}
