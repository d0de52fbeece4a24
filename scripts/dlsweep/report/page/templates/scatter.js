// A scatter plot of any two columns. A box is a filter of both; a click ticks a run.

let scatterAxes = null;
let scatterRuns = [];

function scatterColumns() {
    const { report, selected, varies, listed } = objective();
    const firstOf = (...names) => names.find((name) => COLUMNS.has(name)) ?? COLUMNS.keys().next().value;
    const free = varies.filter((name) => !REPLICATES.includes(name));
    const x =
        state.x ||
        firstOf(
            listed ? "label" : "", // settings one by one differ in a key or two each: no axis has all of them
            free.find((name) => COLUMNS.get(name)?.numeric),
            free[0],
            "train_seconds",
            selected,
        );
    return {
        x: COLUMNS.get(x),
        y: COLUMNS.get(state.y || firstOf(report, selected)),
        color: COLUMNS.get(
            state.color ||
                firstOf(
                    listed ? "label" : "",
                    free.find((name) => name !== x),
                    x,
                    "status",
                ),
        ),
    };
}

function drawScatter() {
    const { x, y, color } = scatterColumns();
    for (const [id, column] of Object.entries({ x, y, color })) byId(id).value = column.name;
    const known = (run) => x.values[run] !== null && y.values[run] !== null;
    scatterRuns = shown.filter(known);
    const axes = { x: axisOf(x, scatterRuns), y: axisOf(y, scatterRuns) }; // a box is looked at closely
    scatterAxes = { x, y, axes };
    drawnRuns.set("scatter", scatterRuns);
    const paint = coloursBy(color, scope);
    const style = axisStyle();
    const spaced = {
        log: (one) => ({ min: one.min / 1.3, max: one.max * 1.3 }),
        value: (one) => ({
            scale: true,
            boundaryGap: ["5%", one.isFraction ? 0 : "5%"],
            min: ({ min, max }) => (min >= 0 && min < 0.25 * (max - min) ? 0 : null), // nothing lies below 0
            max: null,
        }),
        category: () => ({}),
    };
    const axis = (column, one, rotate = 0) => ({
        ...one.option,
        ...spaced[one.type](one),
        name: painted(titleOf(column), 30),
        nameLocation: "middle",
        ...style,
        axisLabel: { ...style.axisLabel, rotate, formatter: (value) => one.text(value) },
    });
    const isLong = axes.x.type === "category" && axes.x.values.some((value) => formatted(x, value).length > 10);
    const slant = isLong && axes.x.values.length > 3 ? 25 : 0;
    const chart = chartIn("scatter");
    const size = scatterRuns.length > 2000 ? 4 : 8;
    chart.setOption(
        {
            ...base(),
            tooltip: {
                ...base().tooltip,
                trigger: "item",
                formatter: (at) => runHint(scatterRuns[at.dataIndex], paint(scatterRuns[at.dataIndex])),
            },
            grid: { left: 70, right: 20, top: 15, bottom: slant ? 80 : 45 },
            xAxis: { ...axis(x, axes.x, slant), nameGap: slant ? 62 : 28 },
            yAxis: { ...axis(y, axes.y), nameGap: 50 },
            toolbox: { show: false },
            brush: {
                xAxisIndex: 0,
                yAxisIndex: 0,
                brushStyle: { color: css("--accent"), opacity: 0.15, borderColor: css("--accent") },
                throttleType: "debounce",
            },
            series: {
                type: "scatter",
                emphasis: { scale: 1.8, itemStyle: { borderColor: css("--ink"), borderWidth: 2, opacity: 1 } },
                symbolSize: (value, at) => (state.ticked.has(scatterRuns[at.dataIndex]) ? 2 * size : size),
                data: scatterRuns.map((run) => ({
                    value: [axes.x.place(x.values[run]), axes.y.place(y.values[run])],
                    itemStyle: {
                        color: paint(run),
                        opacity: scatterRuns.length > 2000 ? 0.5 : 0.85,
                        ...(state.ticked.has(run) ? { borderColor: css("--ink"), borderWidth: 2, opacity: 1 } : {}),
                    },
                })),
            },
        },
        { notMerge: true },
    );
    chart.dispatchAction({
        type: "takeGlobalCursor",
        key: "brush",
        brushOption: { brushType: "rect", brushMode: "single" },
    });
    if (!chart.listens) {
        chart.on("brushEnd", onBox);
        pointsOut("scatter", (at) => at.dataIndex);
        chart.on("click", (at) => tick([scatterRuns[at.dataIndex]], !state.ticked.has(scatterRuns[at.dataIndex])));
        chart.getZr().on("dblclick", () => setFilter({ [scatterAxes.x.name]: "", [scatterAxes.y.name]: "" }));
        chart.listens = true;
    }
    const nMissing = shown.length - scatterRuns.length;
    byId("scatter-note").replaceChildren(
        ...paint.legend,
        nMissing ? ` ${nMissing} run${nMissing > 1 ? "s lack" : " lacks"} one of the two.` : "",
    );
}

function onBox(event) {
    const range = event.areas[0]?.coordRange;
    if (!range) return;
    const { x, y, axes } = scatterAxes;
    const [[x0, x1], [y0, y1]] = range;
    if (x0 === x1 || y0 === y1) return; // a click
    setFilter({ [x.name]: filterFor(x, axes.x, [[x0, x1]]), [y.name]: filterFor(y, axes.y, [[y0, y1]]) });
}
