// Parallel coordinates: a line a run, through what varies to its result. A brush along an axis is a filter.

const MOST_LINES = 3000;
const MOST_AXES = 10;
let parallelAxes = [];

function parallelColumns() {
    const { selected, report } = objective();
    const hyper = [...COLUMNS.values()].filter((column) => column.kind === "hyper" && column.name !== "seed");
    const varies = state.experiment ? objective().varies.map((name) => COLUMNS.get(name)) : hyper;
    const several = varies.filter(
        (column) => column && column.name !== "seed" && distinct(scope.map((run) => column.values[run])).length > 1,
    );
    const results = [selected, report].map((name) => COLUMNS.get(name)).filter((column) => column);
    return [...several.slice(0, MOST_AXES), ...new Set(results)];
}

function drawParallel() {
    const columns = parallelColumns();
    const passes = new Set(shown);
    const few = scope.length > MOST_LINES;
    const lines = few
        ? [
              ...spread(
                  scope.filter((run) => !passes.has(run)),
                  MOST_LINES / 3,
              ),
              ...spread(shown, MOST_LINES),
          ]
        : scope;
    const drawn = [...lines].sort((a, b) => passes.has(a) - passes.has(b)); // what passes on top
    parallelAxes = columns.map((column) => ({ column, axis: axisOf(column, scope) }));
    const result = columns.at(-1);
    const color = result ? coloursBy(result, scope) : () => css("--accent");
    const style = axisStyle();
    const chart = chartIn("parallel");
    const opacity = shown.length > 300 ? 0.35 : 0.75;
    const muted = css("--line");
    chart.setOption(
        {
            ...base(),
            tooltip: {
                ...base().tooltip,
                trigger: "item",
                formatter: (at) => runHint(drawn[at.dataIndex], color(drawn[at.dataIndex])),
            },
            parallel: { left: 60, right: 90, top: 40, bottom: 25, parallelAxisDefault: { realtime: false } },
            parallelAxis: parallelAxes.map(({ column, axis }, dim) => ({
                dim,
                id: `axis-${dim}`,
                name: painted(titleOf(column), 24),
                ...axis.option,
                ...style,
                nameTextStyle: { color: css("--ink"), fontWeight: 600 },
                axisLabel: {
                    ...style.axisLabel,
                    color: css("--ink"),
                    backgroundColor: css("--paper"),
                    borderRadius: 3,
                    padding: [1, 3],
                    formatter: (value) => axis.text(value),
                },
                areaSelectStyle: { width: 16, borderColor: css("--accent"), color: css("--accent"), opacity: 0.25 },
            })),
            series: {
                type: "parallel",
                inactiveOpacity: 0.08,
                activeOpacity: opacity,
                progressive: 1000,
                emphasis: { lineStyle: { width: 3, opacity: 1 } },
                data: drawn.map((run) => ({
                    value: parallelAxes.map(({ column, axis }) => axis.place(column.values[run]) ?? "-"),
                    lineStyle: passes.has(run)
                        ? { color: color(run), opacity, width: state.ticked.has(run) ? 3.5 : 1.5 }
                        : { color: muted, opacity: 0.5, width: 1 },
                })),
            },
        },
        { notMerge: true },
    );
    parallelAxes.forEach(({ column, axis }, dim) => {
        const intervals = intervalsOf(state.filters.get(column.name), column, axis);
        if (intervals.length)
            chart.dispatchAction(
                { type: "axisAreaSelect", parallelAxisId: `axis-${dim}`, intervals },
                { silent: true },
            );
    });
    chart.setOption({}); // draws the brushes, which an axis leaves to who has dispatched them
    if (!chart.listens) {
        chart.on("axisareaselected", onBrush);
        chart.listens = true;
    }
    const what = result ? `Colour: ${titleOf(result)}.` : "";
    byId("parallel-note").textContent = few
        ? `${what} Of ${scope.length} runs ${drawn.length} are drawn, evenly chosen.`
        : what;
}

function onBrush(event) {
    const [one] = event.batch ?? [event];
    const at = parallelAxes[Number(String(one.parallelAxisId).replace("axis-", ""))];
    if (at) setFilter({ [at.column.name]: filterFor(at.column, at.axis, one.intervals ?? []) });
}

// Where a filter is a range, it lies on the axis as a brush.
function intervalsOf(text, column, axis) {
    if (!text || text.startsWith("!")) return [];
    if (!column.numeric) {
        const passes = filterOf(text, column);
        const at = axis.words.map((word, i) => (passes(word) ? i : -1)).filter((i) => i >= 0);
        return at.length && at.length < axis.words.length ? at.map((i) => [i - 0.3, i + 0.3]) : [];
    }
    const found = text.split("|").map((part) => part.match(/^\s*(.*?)\.\.(.*?)\s*$/));
    if (found.some((part) => !part)) return [];
    return found.map(([, low, high]) => [
        Math.max(numberOf(low, axis.min), axis.min),
        Math.min(numberOf(high, axis.max), axis.max),
    ]);
}

// So many of a list, evenly spread.
function spread(list, most) {
    if (list.length <= most) return list;
    return Array.from({ length: Math.floor(most) }, (_, i) => list[Math.floor((i * list.length) / most)]);
}
