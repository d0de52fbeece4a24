// Learning curves of the runs that are ticked; of none, those of the best that are shown.

const MOST_CURVES = 20;

function curveRuns() {
    return bestFirst(chosen())
        .filter((run) => DATA.curves.of[run] >= 0)
        .slice(0, MOST_CURVES);
}

// A colour for each run: its own where few are ticked, else that of the scatter plot.
function runColours(runs) {
    if (state.ticked.size && runs.length <= PALETTE.length) return (run) => PALETTE[runs.indexOf(run)];
    return coloursBy(scatterColumns().color, scope);
}

function drawCurves() {
    const metrics = DATA.curves.metrics.filter((one) => one.name !== "elapsed");
    const preferred = [state.curve, objective().metric].find((name) => metrics.some((one) => one.name === name));
    const metric = preferred ?? metrics[0]?.name;
    const runs = metric ? curveRuns() : [];
    if (metric) byId("curve").value = metric;
    byId("over").value = state.over;
    byId("log").checked = state.log;
    const color = runColours(runs);
    const style = axisStyle();
    const titles = new Map(DATA.curves.metrics.map((one) => [one.name, one.title]));
    const column = COLUMNS.get(metric) ?? { numeric: true };
    const log = state.log;
    const chart = chartIn("curves");
    drawnRuns.set("curves", runs);
    chart.setOption(
        {
            ...base(),
            tooltip: {
                ...base().tooltip,
                trigger: "axis",
                formatter: ([point]) => curveHint(point?.axisValue, runs, metric, color, column),
            },
            grid: { left: 70, right: 20, top: 15, bottom: 45 },
            xAxis: {
                type: "value",
                name: state.over === "epoch" ? "epoch" : (titles.get(state.over) ?? state.over),
                nameLocation: "middle",
                nameGap: 28,
                min: "dataMin",
                max: "dataMax",
                ...style,
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
            series: runs.map((run) => ({
                type: "line",
                data: curveOf(run, metric, state.over).map(([x, y]) => [x, log && !(y > 0) ? null : y]),
                showSymbol: curveOf(run, metric, state.over).length === 1,
                symbolSize: 6,
                itemStyle: { color: color(run) },
                lineStyle: { color: color(run), width: 2, opacity: 0.85 },
                emphasis: { focus: "series", lineStyle: { width: 3.5 } },
                triggerLineEvent: true,
            })),
        },
        { notMerge: true },
    );
    if (!chart.listens) {
        pointsOut("curves", (at) => at.seriesIndex);
        chart.listens = true;
    }
    const all = chosen().length;
    const which = state.ticked.size ? "ticked" : "best";
    const thinned = DATA.curves.most
        ? ` Curves of up to ${DATA.curves.longest} epochs are thinned to ${DATA.curves.most} points here; epochs.csv has all.`
        : "";
    const these =
        runs.length === 1
            ? `One ${which} run.`
            : all > runs.length
              ? `The ${runs.length} ${which} of ${all} runs.`
              : `The ${runs.length} ${which} runs.`;
    const own = state.ticked.size > 0 && runs.length <= PALETTE.length;
    byId("curves-note").replaceChildren(
        ...(own ? swatches(runs.map((run) => [color(run), nameOf(run)])) : []),
        these + (own ? "" : ` Colour: ${scatterColumns().color.title}.`) + thinned,
    );
}

// Every curve at the place of the mouse, the best first: its point that is nearest.
function curveHint(x, runs, metric, color, column) {
    const distance = (point) => Math.abs(point[0] - x);
    const nearest = (points) => points.reduce((best, point) => (distance(point) < distance(best) ? point : best));
    const there = runs
        .map((run) => ({ run, points: curveOf(run, metric, state.over).filter((point) => point[1] !== null) }))
        .filter(({ points }) => points.length && x >= points[0][0] && x <= points.at(-1)[0])
        .map(({ run, points }) => ({ run, value: nearest(points)[1] }))
        .sort((a, b) => compared(a.value, b.value, COLUMNS.get(metric)?.better !== "min"));
    const lines = there
        .slice(0, 12)
        .map(({ run, value }) => [color(run), `${formatted(column, value)}  ${nameOf(run)}`]);
    if (there.length > 12) lines.push(["", `and ${there.length - 12} more`]);
    return hint(state.over === "epoch" ? `epoch ${x}` : `${tidy(x)} s`, lines);
}
