// Learning curves of the runs that are ticked; of none, those of the best that are shown. While the table is grouped
// over seeds, the mean of each setting, with a band from the lowest of its runs to the highest.

const MOST_CURVES = 20;
const MOST_BANDS = 8; // more cover each other

// What is drawn, the best first: a line for each run or, grouped over seeds, one for those of a setting.
function curveLines() {
    const runs = chosen().filter((run) => DATA.curves.of[run] >= 0);
    if (!state.grouped)
        return bestFirst(runs)
            .slice(0, MOST_CURVES)
            .map((run) => [run]);
    return settingsBestFirst(runs.filter((run) => !hasDiverged(run))).slice(0, MOST_BANDS);
}

const hasDiverged = (run) => textOf("status", run) === "diverged"; // its curve ends early, far from the others

// A colour for each run: its line's own where that tells the lines apart, else that of the scatter plot.
function lineColours(lines) {
    if ((state.ticked.size || state.grouped) && lines.length <= PALETTE.length) {
        const places = new Map(lines.flatMap((runs, at) => runs.map((run) => [run, at])));
        const paint = (run) => PALETTE[places.get(run)] ?? css("--mute");
        paint.legend = swatches(lines.map((runs, at) => [PALETTE[at], lineName(runs)]));
        return paint;
    }
    return coloursBy(scatterColumns().color, scope);
}

const lineName = (runs) => (state.grouped ? labelOf(runs[0]) : nameOf(runs[0]));

function drawCurves() {
    const metrics = DATA.curves.metrics.filter((one) => one.name !== "elapsed");
    const preferred = [state.curve, objective().metric].find((name) => metrics.some((one) => one.name === name));
    const metric = preferred ?? metrics[0]?.name;
    const all = metric ? curveLines() : [];
    if (metric) byId("curve").value = metric;
    byId("over").value = state.over;
    byId("log").checked = state.log;
    const color = lineColours(all);
    const lines = all.map((runs) => ({ runs, points: pointsOf(runs, metric) })).filter(({ points }) => points.length);
    const style = axisStyle();
    const titles = new Map(DATA.curves.metrics.map((one) => [one.name, one.title]));
    const column = COLUMNS.get(metric) ?? { numeric: true };
    const log = state.log;
    const chart = chartIn("curves");
    drawnRuns.set(
        "curves",
        lines.map(({ runs }) => runs),
    );
    chart.setOption(
        {
            ...base(),
            tooltip: {
                ...base().tooltip,
                trigger: "axis",
                formatter: ([point]) => curveHint(point?.axisValue, lines, metric, color, column),
            },
            grid: { left: 70, right: 20, top: 15, bottom: 45 },
            xAxis: {
                type: spansDecades(lines) ? "log" : "value",
                name: SPENT.get(state.over),
                nameLocation: "middle",
                nameGap: 28,
                min: "dataMin",
                max: "dataMax",
                ...style,
                axisLabel: { ...style.axisLabel, formatter: tidy },
            },
            yAxis: {
                type: log ? "log" : "value",
                scale: true,
                name: painted(titles.get(metric) ?? "", 30),
                nameLocation: "middle",
                nameGap: 50,
                ...style,
                axisLabel: { ...style.axisLabel, formatter: tidy },
            },
            series: [
                ...lines.map(({ runs, points }) => ({
                    type: "line",
                    data: points.map(([x, y]) => [x, log && !(y > 0) ? null : y]),
                    showSymbol: points.length === 1,
                    symbolSize: 6,
                    itemStyle: { color: color(runs[0]) },
                    lineStyle: { color: color(runs[0]), width: 2, opacity: 0.85 },
                    emphasis: { focus: "series", lineStyle: { width: 3.5 } },
                    triggerLineEvent: true,
                })),
                ...lines.filter(({ runs }) => runs.length > 1).map(({ runs, points }) => band(points, color(runs[0]), log)),
            ],
        },
        { notMerge: true },
    );
    if (!chart.listens) {
        pointsOut("curves", (at) => at.seriesIndex);
        chart.listens = true;
    }
    byId("curves-note").replaceChildren(
        ...((state.ticked.size || state.grouped) && all.length <= PALETTE.length ? color.legend : []),
        [curvesInWords(lines), ...curveRemarks(lines)].join(" "),
    );
}

function pointsOf(runs, metric) {
    const curves = runs.map((run) => curveOf(run, metric, state.over)).filter((curve) => curve.length);
    if (curves.length > 1) return meanCurve(curves);
    return curves.flat().map(([x, y]) => [x, y, y, y]);
}

// Whether what some lines spend in all is little beside what others do.
function spansDecades(lines) {
    const totals = lines.map(({ points }) => points.at(-1)[0]);
    return Math.min(...totals) > 0 && Math.max(...totals) > 5 * Math.min(...totals);
}

// The area between the lowest and the highest of several runs.
function band(points, color, log) {
    const seen = points.filter(([, , low]) => !log || low > 0);
    return {
        type: "custom",
        silent: true,
        tooltip: { show: false },
        z: 1,
        dimensions: ["x", "low", "high"],
        encode: { x: 0, y: [1, 2] },
        data: seen.map(([x, , low, high]) => [x, low, high]),
        renderItem: (at, api) => {
            if (at.dataIndexInside > 0) return null; // the first draws all of it
            const along = (i) => seen.map((point) => api.coord([point[0], point[i]]));
            return {
                type: "polygon",
                shape: { points: [...along(2), ...along(3).reverse()] },
                style: { fill: color, opacity: 0.16 },
            };
        },
    };
}

function curvesInWords(lines) {
    const which = state.ticked.size ? "ticked" : "best";
    if (!state.grouped) {
        const all = chosen().length;
        if (lines.length === 1) return `One ${which} run.`;
        return `The ${lines.length} ${which}${all > lines.length ? ` of ${all}` : ""} runs.`;
    }
    const n = Map.groupBy(chosen(), settingOf).size;
    const what = n > lines.length ? `The ${lines.length} ${which} of ${n} settings` : `${n} settings`;
    return `${n === 1 ? "One setting" : what}: mean, and a band from the lowest run to the highest.`;
}

function curveRemarks(lines) {
    const said = [];
    if (!((state.ticked.size || state.grouped) && lines.length <= PALETTE.length))
        said.push(`Colour: ${scatterColumns().color.title}.`);
    const gone = state.grouped ? chosen().filter(hasDiverged).length : 0;
    if (gone) said.push(`Without ${gone} run${gone > 1 ? "s" : ""} that diverged.`);
    if (DATA.curves.most)
        said.push(
            `Curves of up to ${DATA.curves.longest} epochs are thinned to ${DATA.curves.most} points here; epochs.csv has all.`,
        );
    return said;
}

// Every line at the place of the mouse, the best first: its point that is nearest.
function curveHint(x, lines, metric, color, column) {
    const distance = (point) => Math.abs(point[0] - x);
    const nearest = (points) => points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    const there = lines
        .filter(({ points }) => x >= points[0][0] && x <= points.at(-1)[0])
        .map(({ runs, points }) => ({ runs, point: nearest(points) }))
        .sort((a, b) => compared(a.point[1], b.point[1], COLUMNS.get(metric)?.better !== "min"));
    const hints = there.slice(0, 12).map(({ runs, point: [, y, low, high] }) => {
        const range = runs.length > 1 ? ` [${formatted(column, low)} to ${formatted(column, high)}]` : "";
        return [color(runs[0]), `${formatted(column, y)}${range}  ${lineName(runs)}`];
    });
    if (there.length > 12) hints.push(["", `and ${there.length - 12} more`]);
    const place = { epoch: `epoch ${x}`, updates: `${Math.round(x)} updates`, elapsed: `${tidy(x)} s` };
    return hint(place[state.over], hints);
}
