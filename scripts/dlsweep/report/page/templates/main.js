// Start: what is shown follows from the address; every view is drawn anew when it changes.

function fill(select, options) {
    select.replaceChildren(...options.map(([value, text]) => element("option", { value }, short(text, 60))));
}

function drawTools() {
    byId("experiment").value = state.experiment;
    if (byId("search").value !== state.search) byId("search").value = state.search;
    byId("grouped").checked = state.grouped;
}

function start() {
    if (!N_RUNS) {
        byId("explore").replaceChildren(element("h2", {}, "Explore the runs"), element("p", {}, "No run is finished."));
        return;
    }
    fill(byId("experiment"), [
        ...DATA.experiments.map((one) => [one.name, one.name]),
        ...(DATA.experiments.length > 1 ? [["", "all"]] : []),
    ]);
    const columns = [...COLUMNS.values()].filter((column) => column.name !== "hash");
    for (const id of ["x", "y", "color"])
        fill(
            byId(id),
            columns.map((column) => [column.name, column.kind === "hyper" ? column.name : titleOf(column)]),
        );
    const metrics = DATA.curves.metrics.filter((one) => one.name !== "elapsed");
    fill(
        byId("curve"),
        metrics.map((one) => [one.name, one.title]),
    );
    fill(byId("over"), [...SPENT]);

    byId("experiment").addEventListener("change", (event) => change(initialState(event.target.value)));
    byId("search").addEventListener("input", (event) => change({ search: event.target.value }));
    byId("grouped").addEventListener("change", (event) => change({ grouped: event.target.checked }));
    for (const id of ["x", "y", "color", "curve", "over"])
        byId(id).addEventListener("change", (event) => change({ [id]: event.target.value, page: state.page }));
    byId("log").addEventListener("change", (event) => change({ log: event.target.checked, page: state.page }));
    byId("columns").addEventListener("toggle", drawColumnMenu);
    byId("export").addEventListener("click", () =>
        download(`${DATA.name || "sweep"}-runs.csv`, csv(bestFirst(chosen()))),
    );
    byId("link").addEventListener("click", copyLink);
    byId("reset").addEventListener("click", () => change(initialState(state.experiment)));

    document.addEventListener("keydown", (event) => {
        const box = event.target.closest?.("#runs tbody input");
        if (event.key === "/" && !event.target.closest?.("input, select, textarea")) {
            event.preventDefault();
            byId("search").focus();
        } else if (box && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
            event.preventDefault();
            const row = box.closest("tr");
            (event.key === "ArrowDown" ? row.nextElementSibling : row.previousElementSibling)
                ?.querySelector("input")
                .focus();
        }
    });
    window.addEventListener("hashchange", () => {
        if (location.hash !== written && readLink()) look();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redraw());
    window.addEventListener("beforeprint", () => {
        for (const details of document.querySelectorAll(".experiment details, #config details")) details.open = true;
    });

    views.push(drawTools, drawTable, drawChips, drawColumnMenu, drawCompare);
    const asked = readLink();
    if (!asked) Object.assign(state, initialState());
    select();
    redraw();
    // The charts are drawn once they are near, so that the page is there at once.
    new IntersectionObserver(
        (entries, observer) => {
            if (!entries.some((entry) => entry.isIntersecting)) return;
            observer.disconnect();
            slowViews.push(drawParallel, drawScatter, drawCurves);
            redraw();
        },
        { rootMargin: "600px" },
    ).observe(byId("explore"));
    if (asked) byId("explore").scrollIntoView();
}

function redraw() {
    for (const draw of [...views, ...slowViews]) draw();
}

function look() {
    select();
    redraw();
    byId("explore").scrollIntoView();
}

async function copyLink() {
    const address = location.href.split("#")[0] + link();
    const button = byId("link");
    try {
        await navigator.clipboard.writeText(address);
        button.textContent = "Copied";
    } catch {
        window.prompt("The link to what you see:", address);
    }
    setTimeout(() => (button.textContent = "Copy link"), 1500);
}

start();
