// The ticked runs side by side (while the table is grouped over seeds, their settings): where their settings differ, then
// every metric, the best in bold.

const MOST_COMPARED = 8;

function drawCompare() {
    const ticked = scope.filter((run) => state.ticked.has(run));
    const all = state.grouped ? settingsBestFirst(ticked) : bestFirst(ticked).map((run) => [run]);
    const lists = all.slice(0, MOST_COMPARED);
    const frame = byId("compare");
    if (lists.length < 2) {
        frame.replaceChildren(
            element("p", { className: "note" }, "Tick two runs or more in the table to see where they differ."),
        );
        return;
    }
    const color = lineColours(curveLines());
    const heads = lists.map((runs) => {
        const swatch = element("span", { className: "swatch" });
        swatch.style.background = color(runs[0]);
        return element("th", { scope: "col" }, swatch, lineName(runs));
    });
    const columns = [...COLUMNS.values()].filter((column) => !column.hidden || column.name === "exp_name");
    const settings = columns.filter((column) => column.kind === "hyper" && differ(lists, column));
    const results = columns.filter(
        (column) => column.kind !== "hyper" && differ(lists, column) && column.name !== "hash",
    );
    const body = element(
        "tbody",
        {},
        ...settings.map((column) => comparedRow(lists, column, "differs")),
        ...results.map((column) => comparedRow(lists, column, "")),
    );
    const what = state.grouped ? "settings" : "runs";
    frame.replaceChildren(
        element("table", {}, element("thead", {}, element("tr", {}, element("td"), ...heads)), body),
        ...(all.length > lists.length
            ? [element("p", { className: "note" }, `The best ${lists.length} of ${all.length} ticked ${what}.`)]
            : []),
    );
}

// Whether a column tells the lists of runs apart: not where all have the same several values, as of the seed.
function differ(lists, column) {
    const found = lists.map((runs) => `${single(runs, column)} ${cellText(runs, column)}`); // also where texts are rounded
    return found.some((one) => one !== found[0]);
}

function comparedRow(lists, column, className) {
    const values = lists.map((runs) => single(runs, column));
    const known = values.filter((value) => value !== null);
    const best = column.numeric && { max: Math.max(...known), min: Math.min(...known) }[column.better];
    const cells = lists.map((runs, i) =>
        element("td", { className: column.better && values[i] === best ? "winner" : "" }, cellText(runs, column)),
    );
    return element("tr", { className }, element("th", { scope: "row", title: column.doc }, titleOf(column)), ...cells);
}
