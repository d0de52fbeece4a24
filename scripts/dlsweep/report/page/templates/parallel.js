// Parallel coordinates: a line a run, through what varies to its result. A brush along an axis is a filter.

const MOST_LINES = 3000;
const MOST_AXES = 10;
const MOST_SIDE_BY_SIDE = 12; // values of a hyper-parameter
const FAR = 3; // quartile distances beyond the quartiles: what lies further does not stretch the axis of a result
let parallelAxes = [];

function parallelColumns() {
    const { selected, report } = objective();
    const hyper = [...COLUMNS.values()].filter((column) => column.kind === "hyper" && !REPLICATES.includes(column.name));
    const varies = state.experiment ? objective().varies.map((name) => COLUMNS.get(name)) : hyper;
    const several = varies.filter(
        (column) => column && !REPLICATES.includes(column.name) && distinct(scope.map((run) => column.values[run])).length > 1,
    );
    const results = [selected, report].map((name) => COLUMNS.get(name)).filter((column) => column);
    return [...several.slice(0, MOST_AXES), ...new Set(results)];
}

// The axis of a column: few values of a hyper-parameter stand side by side, however far apart they are.
function parallelAxis(column) {
    const values = distinct(scope.map((run) => column.values[run]));
    if (column.kind === "hyper" && values.length <= MOST_SIDE_BY_SIDE) return sideBySide(column, values);
    const axis = axisOf(column, scope);
    return column.kind === "metric" && axis.type === "value" ? withoutTheFar(column, axis) : axis;
}

// The ends of the axis hold what lies beyond them.
function withoutTheFar(column, axis) {
    const values = scope.map((run) => column.values[run]).filter((value) => value !== null);
    values.sort((a, b) => a - b);
    const [first, third] = [0.25, 0.75].map((part) => values[Math.round(part * (values.length - 1))]);
    const room = FAR * (third - first);
    if (!room) return axis;
    const near = values.filter((value) => value >= first - room && value <= third + room);
    const [min, max] = [near[0], near.at(-1)];
    const [below, above] = [values[0] < min, values.at(-1) > max];
    return {
        ...axis,
        min,
        max,
        below,
        above,
        option: { ...axis.option, min, max },
        place: (value) => (value === null ? null : Math.min(Math.max(value, min), max)),
        text: (value) => (below && value <= min ? "≤ " : above && value >= max ? "≥ " : "") + tidy(value),
    };
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
    parallelAxes = columns.map((column) => ({ column, axis: parallelAxis(column) }));
    const result = columns.at(-1);
    const color = result ? coloursBy(result, scope) : () => css("--accent");
    const style = axisStyle();
    const chart = chartIn("parallel");
    drawnRuns.set("parallel", drawn);
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
                    ...(axis.values ? {} : { showMinLabel: true, showMaxLabel: true }),
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
        pointsOut("parallel", (at) => at.dataIndex);
        chart.listens = true;
    }
    byId("parallel-note").replaceChildren(
        ...(result ? [`Colour: ${titleOf(result)} `, ...color.legend] : []),
        few ? ` Of ${scope.length} runs ${drawn.length} are drawn, evenly chosen.` : "",
    );
}

function onBrush(event) {
    const [one] = event.batch ?? [event];
    const at = parallelAxes[Number(String(one.parallelAxisId).replace("axis-", ""))];
    if (at) setFilter({ [at.column.name]: filterFor(at.column, at.axis, one.intervals ?? []) });
}

// Where a filter is a range, it lies on the axis as a brush.
function intervalsOf(text, column, axis) {
    if (!text || text.startsWith("!")) return [];
    if (axis.values) {
        const passes = filterOf(text, column) ?? (() => false);
        const at = axis.values.map((value, i) => (passes(value) ? i : -1)).filter((i) => i >= 0);
        return at.length && at.length < axis.values.length ? at.map((i) => [i - 0.3, i + 0.3]) : [];
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
