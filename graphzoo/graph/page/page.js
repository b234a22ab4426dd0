"use strict";

// The page of one graph. Its data: nodes (by id), edges, formulas (by operation), and, where they were recorded, the
// gradients of one backward pass. "null" is "not recorded" or "none flowed", and is never shown as 0.

const data = JSON.parse(document.getElementById("data").textContent);
const picture = document.getElementById("picture");
const svg = picture.querySelector("svg");
const find = (id) => document.getElementById(id);
const { nodes, edges, gradients } = data;

// The boxes of the picture; a folded one stands for several nodes.
const boxes = [...svg.querySelectorAll("[data-nodes]")];
const idsOf = (box) => box.dataset.nodes.split(" ").map(Number);
const boxOf = new Map();
for (const box of boxes) for (const id of idsOf(box)) boxOf.set(id, box);
const frameOf = (box) => box.querySelector(":scope > rect");

function shape(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Folding -------------------------------------------------------------------------------------------------------------

// Time lies along x and what nests lies along y, so that a folded stretch is an interval without room: every coordinate
// of the picture moves by one rule for x and one for y, which keep all order.
const kept = [...svg.querySelectorAll("rect, text, line, path.edge")].map((part) => ({
  part,
  box: part.closest("[data-nodes]"),
  points: part.tagName === "path" ? part.getAttribute("d").slice(1).split(" L").map((pair) => pair.split(",").map(Number)) : null,
  ...Object.fromEntries(["x", "y", "width", "height", "x1", "x2", "y1", "y2"].map((name) => [name, Number(part.getAttribute(name))])),
}));
const scopes = [...svg.querySelectorAll(".scope")].map((scope) => ({ scope, frame: kept.find((one) => one.part === scope.querySelector("rect")) }));
const slots = [...svg.querySelectorAll(".step")].map((step) => kept.find((one) => one.part === step)).sort((a, b) => a.x - b.x);
const BAR = 22;
const gap = shape("text", { class: "axis", y: Math.max(0, ...kept.filter(({ part }) => part.classList.contains("axis")).map(({ y }) => y)) });
svg.append(gap);
let closed = new Set(); // frames of scopes
let columns = Infinity;

const within = (value, from, size) => value > from && value < from + size;

// The stretch of time that is folded: from the end of one slot to the beginning of another.
function stretch() {
  if (slots.length <= columns) return null;
  const first = Math.max(1, Math.floor((columns - 1) / 2));
  const last = Math.max(1, columns - 1 - first);
  const from = slots[first].x;
  return { from, size: slots[slots.length - last].x - from, count: slots.length - first - last, first, last };
}

function fold() {
  const outer = [...closed].filter((frame) => ![...closed].some((other) => other !== frame && inside(frame, other)));
  const time = stretch();
  const strip = 46;
  const moveX = (x) => !time || x <= time.from ? x : x >= time.from + time.size ? x - time.size + strip : time.from + ((x - time.from) * strip) / time.size;
  // What stands above a closed box comes down, so that the time axis stays where it is; what runs above all boxes, by
  // as much as the most of them gave up.
  const at = (x) => outer.filter((frame) => x >= frame.x && x <= frame.x + frame.width + 10); // and the gutter beside it
  const lost = Math.max(0, ...outer.map((frame) => at(frame.x + 1).reduce((sum, other) => sum + other.height - BAR, 0)));
  const top = Math.min(...slots.map((slot) => slot.y), ...scopes.map(({ frame }) => frame.y));
  const moveY = (x, y) => y < top ? y + lost : at(x).reduce((moved, frame) =>
    y >= frame.y + frame.height ? moved : moved + (y <= frame.y ? frame.height - BAR : ((frame.y + frame.height - y) * (frame.height - BAR)) / frame.height), y);
  const hides = (x, y) => (time && within(x, time.from, time.size)) || outer.some((frame) => within(x, frame.x, frame.width) && within(y, frame.y, frame.height));
  const hidesAll = (points) => (time && points.every(([x]) => within(x, time.from, time.size)))
    || outer.some((frame) => points.every(([x, y]) => within(x, frame.x, frame.width + 10) && within(y, frame.y, frame.height)));
  for (const one of kept) {
    const { part } = one;
    if (part.classList.contains("paper")) continue;
    if (one.points) {
      part.setAttribute("d", "M" + one.points.map(([x, y]) => `${moveX(x)},${moveY(x, y)}`).join(" L"));
      part.classList.toggle("folded", hidesAll(one.points)); // but not from one closed box to another
    } else if (part.tagName === "rect") {
      const [x, y] = [one.x + one.width / 2, one.y + one.height / 2];
      const frame = part.parentNode.classList.contains("scope");
      part.setAttribute("x", moveX(one.x));
      part.setAttribute("width", moveX(one.x + one.width) - moveX(one.x));
      part.setAttribute("y", moveY(x, one.y));
      part.setAttribute("height", moveY(x, one.y + one.height) - moveY(x, one.y));
      const slot = part.classList.contains("step");
      const hidden = frame ? outer.some((other) => other !== one && inside(one, other)) : slot ? time && within(x, time.from, time.size) : hides(x, y);
      (one.box || (frame ? part.parentNode : part)).classList.toggle("folded", Boolean(hidden));
      if (frame) part.classList.toggle("closed", outer.includes(one));
    } else if (part.tagName === "line") {
      for (const end of ["1", "2"]) part.setAttribute("x" + end, moveX(one["x" + end]));
      part.classList.toggle("folded", Boolean(time && within(one.x1, time.from, time.size)));
    } else {
      const label = part.closest(".scope");
      part.setAttribute("x", moveX(one.x));
      // A scope's label stays at the top of its box, whatever that has become.
      const frame = label && scopes.find((each) => each.scope === label).frame;
      part.setAttribute("y", frame ? Number(frame.part.getAttribute("y")) + one.y - frame.y : moveY(one.x, one.y));
      if (!one.box && !label) part.classList.toggle("folded", Boolean(hides(one.x, one.y)));
    }
  }
  Object.assign(full, { y: lost, width: whole.width - (time ? time.size - strip : 0), height: whole.height - lost });
  gap.textContent = time ? "…" : "";
  if (time) gap.setAttribute("x", time.from + strip / 2 - 8);
  find("stretch").textContent = time ? `t = ${stepOf(slots[time.first])} … ${stepOf(slots[slots.length - time.last - 1])} is folded` : "";
  show({ ...full });
}

// Which time step a slot is of: its label stands at its middle.
function stepOf(slot) {
  const label = kept.find((one) => one.part.classList.contains("axis") && within(one.x, slot.x, slot.width));
  return label.part.textContent.replace("t = ", "");
}

function inside(frame, other) {
  return frame.x >= other.x - 1 && frame.x + frame.width <= other.x + other.width + 1 && frame.y >= other.y && frame.y + frame.height <= other.y + other.height;
}

let arrange = fold; // lays the picture out again when a frame closes or opens, or a stretch of time

function toggle(frame) {
  if (!closed.delete(frame)) closed.add(frame);
  arrange(frame);
}

// What is looked for must be seen.
function reveal(box) {
  if (!box.classList.contains("folded")) return;
  closed = new Set();
  columns = Infinity;
  find("columns").value = "all";
  arrange();
}

for (const { scope, frame } of scopes) {
  const label = scope.querySelector("text");
  label.setAttribute("role", "button");
  label.setAttribute("tabindex", "0");
  label.addEventListener("click", () => toggle(frame));
  label.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(frame); });
}
find("columns").hidden = slots.length < 6;
find("columns").addEventListener("change", () => {
  columns = find("columns").value === "all" ? Infinity : Number(find("columns").value);
  arrange();
});

// Moving about ----------------------------------------------------------------------------------------------------

const whole = { x: 0, y: 0, width: svg.viewBox.baseVal.width, height: svg.viewBox.baseVal.height };
const full = { ...whole };
let view = { ...full };

function show(next) {
  view = next;
  svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
}

function zoom(factor, x = view.x + view.width / 2, y = view.y + view.height / 2) {
  const width = Math.min(Math.max(view.width * factor, 60), full.width * 4);
  const scale = width / view.width;
  show({ x: x - (x - view.x) * scale, y: y - (y - view.y) * scale, width, height: view.height * scale });
}

// A long stretch of time begins at its end, where the loss is, and a high tower at its top, at a size that can be read.
function begin() {
  const width = Math.max(picture.clientWidth / 0.8, full.height);
  const height = Math.max(picture.clientHeight / 0.8, full.width);
  if (full.width > width * 1.3) show({ x: full.width - width, y: full.y, width, height: full.height });
  else if (full.height > height * 1.3) show({ x: 0, y: full.y, width: full.width, height });
}

function pointIn(event) {
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
  return [point.x, point.y];
}

function centre(box) {
  const place = frameOf(box).getBBox();
  const width = Math.min(view.width, Math.max(place.width * 6, 500));
  const height = (view.height * width) / view.width;
  show({ x: place.x + place.width / 2 - width / 2, y: place.y + place.height / 2 - height / 2, width, height });
}

picture.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, ...pointIn(event));
}, { passive: false });

let grip = null;
let moved = false;
picture.addEventListener("pointerdown", (event) => {
  grip = pointIn(event);
  moved = false;
});
picture.addEventListener("pointermove", (event) => {
  if (!grip) return;
  const [x, y] = pointIn(event);
  if (Math.hypot(x - grip[0], y - grip[1]) * svg.getScreenCTM().a > 3) moved = true;
  if (moved) show({ ...view, x: view.x - x + grip[0], y: view.y - y + grip[1] });
});
addEventListener("pointerup", () => { grip = null; });

// Numbers ---------------------------------------------------------------------------------------------------------

function number(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return value; // "nan", "inf": JSON has no such numbers
  if (value === 0 || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(2) : value.toPrecision(4);
}

const statisticsOf = (ids) => ids.map((id) => gradients.nodes[id]).filter(Boolean);

// The norm of several gradients together; null where none flowed.
function normOf(ids) {
  const found = statisticsOf(ids);
  if (!found.length) return null;
  return found.some((one) => typeof one.norm === "string") ? "nan" : Math.hypot(...found.map((one) => one.norm));
}

function meanOf(ids) {
  const norm = normOf(ids);
  return typeof norm === "number" ? norm / Math.sqrt(statisticsOf(ids).length) : norm;
}

function colourOf(norm) {
  if (norm === 0) return data.scale.zero;
  if (typeof norm === "string") return data.scale.broken;
  const { low, high, colours } = data.scale;
  const place = high > low ? (Math.log(norm) - Math.log(low)) / (Math.log(high) - Math.log(low)) : 1;
  return colours[Math.round(Math.min(1, Math.max(0, place)) * (colours.length - 1))];
}

// Light text on dark colours: by the luminance of the colour.
function textOn(colour) {
  const [r, g, b] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return 0.3 * r + 0.59 * g + 0.11 * b < 135 ? "#ffffff" : "#222222";
}

// Colours of gradient norms: of all nodes, or in the backward pass of those it has visited.
function paint() {
  const visited = step > 0 ? new Set(gradients.order.slice(0, step)) : null;
  for (const box of boxes) {
    const ids = idsOf(box);
    const reached = !visited || ids.some((id) => visited.has(id) || usedBy(id).some((user) => visited.has(user)));
    // Of a folded place the root of the mean square, which is like the norm of one.
    const norm = find("heat").checked || visited ? meanOf(ids) : null;
    const shown = reached && norm !== null;
    frameOf(box).style.fill = shown ? colourOf(norm) : "";
    for (const text of box.querySelectorAll(":scope > text")) text.style.fill = shown ? textOn(colourOf(norm)) : "";
    box.classList.toggle("waiting", Boolean(visited) && !reached);
  }
}

// For a stub the operations that use it: it is reached when they are.
const users = new Map();
for (const edge of edges) {
  if (nodes[edge.source].role === "operation") continue;
  if (!users.has(edge.source)) users.set(edge.source, []);
  users.get(edge.source).push(edge.target);
}
const usedBy = (id) => users.get(id) || [];

// Details ---------------------------------------------------------------------------------------------------------

let selected = null;

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function list(pairs) {
  const made = element("dl");
  for (const [term, value] of pairs) made.append(element("dt", term), element("dd", value));
  return made;
}

function bars(values, labels, here = -1) {
  const space = "http://www.w3.org/2000/svg";
  const chart = document.createElementNS(space, "svg");
  chart.setAttribute("class", "bars");
  chart.setAttribute("viewBox", "0 0 300 80");
  chart.setAttribute("preserveAspectRatio", "none");
  const known = values.filter((value) => typeof value === "number");
  const most = Math.max(...known, 0);
  const width = 300 / values.length;
  values.forEach((value, index) => {
    const bar = document.createElementNS(space, "rect");
    const height = typeof value === "number" && most > 0 ? (68 * value) / most : 0;
    bar.setAttribute("x", index * width);
    bar.setAttribute("y", 80 - height);
    bar.setAttribute("width", Math.max(width - (width > 4 ? 1 : 0), 0.5));
    bar.setAttribute("height", height);
    if (index === here) bar.setAttribute("class", "here");
    const title = document.createElementNS(space, "title");
    title.textContent = labels[index];
    bar.append(title);
    chart.append(bar);
  });
  return chart;
}

// The nodes that play the same part at other time steps.
function row(node) {
  const same = (other) => (node.tensor === null ? other.module === node.module : other.tensor === node.tensor)
    && other.op === node.op && other.path === node.path && other.t !== null;
  return nodes.filter(same).sort((a, b) => a.t - b.t);
}

function describe(ids) {
  const node = nodes[ids[0]];
  const panel = find("details");
  panel.replaceChildren(element("h2", node.label));
  const facts = [["path", node.path], ["what", node.role === "operation" ? `${node.op} (${node.family})` : node.role]];
  if (ids.length > 1) facts.push(["nodes", `${ids.length} in this place`]);
  else if (node.t !== null) facts.push(["time step", `t = ${node.t}`]);
  facts.push([node.outputs.length > 1 ? "outputs" : "output", node.outputs.join(", ")]);
  if (node.parameters) facts.push(["parameters", node.parameters.toLocaleString("en")]);
  if (node.role === "operation") facts.push(["saved", node.released ? "released" : `${node.saved_bytes.toLocaleString("en")} bytes`]);
  const inputs = edges.filter((edge) => edge.target === node.id && !edge.own);
  if (node.line) facts.push(["recorded in", node.line]);
  if (node.times) facts.push(["uses", node.times]);
  if (inputs.length) facts.push(["inputs", inputs.map((edge) => `${edge.argument}: ${edge.dtype} ${edge.shape}`).join("; ")]);
  panel.append(list(facts));
  if (ids.length === 1) panel.append(...node.values.flatMap((one, index) => valueOf(one, node.values.length > 1 ? `Value [${index}]` : "Value")));
  if (gradients) panel.append(...gradientOf(ids, node));
  else panel.append(element("h3", "Gradient"), element("p", "not recorded: gz.graph(loss, gradients=True)", { class: "quiet" }));
  const formulas = data.formulas[node.op];
  if (formulas) {
    for (const [title, formula] of formulas) {
      panel.append(element("h3", title));
      const shown = element("div", "", { class: "formula" });
      shown.innerHTML = formula; // MathML or escaped LaTeX, made when the page was
      panel.append(shown);
    }
  }
  if (data.definitions[node.op]) {
    const more = element("details");
    const shown = element("div", "", { class: "definition" });
    shown.innerHTML = data.definitions[node.op]; // SVG, made when the page was
    more.append(element("summary", "Expand: what it is made of"), shown);
    panel.append(more);
  }
}

// What was computed, where `gz.record` looked at it.
function valueOf(one, title) {
  const facts = [["norm", number(one.norm)], ["mean", number(one.mean)], ["from, to", `${number(one.low)}, ${number(one.high)}`]];
  const odd = [["zeros", one.zeros], ["NaN", one.nans], ["infinite", one.infs]].filter(([, count]) => count);
  const made = [element("h3", title), list([...facts, ...odd.map(([what, count]) => [what, `${count} of ${one.size}`])])];
  if (one.whole.length) made.push(element("p", one.whole.map(number).join("  "), { class: "whole" }));
  else if (one.histogram.length > 1) made.push(histogram(one));
  return made;
}

function histogram(one) {
  const width = (one.high - one.low) / one.histogram.length;
  return bars(one.histogram, one.histogram.map((count, bin) =>
    `${number(one.low + bin * width)} … ${number(one.low + (bin + 1) * width)}: ${count}`));
}

function gradientOf(ids, node) {
  const made = [element("h3", node.role === "operation" ? "Gradient of the output" : "What this use contributed")];
  const [one] = statisticsOf(ids);
  if (!one) return [...made, element("p", "none flowed", { class: "quiet" })];
  const facts = [["norm", number(normOf(ids))]];
  if (ids.length === 1) {
    facts.push(["mean", number(one.mean)], ["from, to", `${number(one.low)}, ${number(one.high)}`]);
    const odd = [["zeros", one.zeros], ["NaN", one.nans], ["infinite", one.infs]].filter(([, count]) => count);
    facts.push(...odd.map(([what, count]) => [what, `${count} of ${one.size}`]));
    const cosine = gradients.cosines[node.id];
    if (cosine !== undefined) facts.push(["cosine with the sum", number(cosine)]);
    if (node.id in gradients.gathered) facts.push(["gathered by then", number(gradients.gathered[node.id])]);
    if (node.tensor in gradients.totals) facts.push(["whole gradient", number(gradients.totals[node.tensor])]);
  }
  made.push(list(facts));
  if (ids.length === 1 && one.histogram.length > 1) {
    made.push(element("h3", "Its values"), histogram(one));
  }
  const others = row(node);
  if (others.length > 1) {
    const norms = others.map((other) => normOf([other.id]));
    const labels = others.map((other, index) => {
      const cosine = gradients.cosines[other.id];
      return `t = ${other.t}: ${number(norms[index])}` + (cosine === undefined ? "" : `, cosine ${number(cosine)}`);
    });
    made.push(element("h3", node.role === "operation" ? "Norm over time" : "Contributions over time"));
    made.push(bars(norms, labels, ids.length === 1 ? others.indexOf(node) : -1));
  }
  return made;
}

function select(box, ids = idsOf(box)) {
  if (selected) selected.classList.remove("selected");
  selected = box;
  box.classList.add("selected");
  describe(ids);
}

picture.addEventListener("click", (event) => {
  const box = event.target.closest("[data-nodes]");
  if (box && !moved) select(box);
});

// Search ----------------------------------------------------------------------------------------------------------

let matches = [];
let current = -1;

function matching(query) {
  const step = /^t\s*=\s*(-?\d+)$/.exec(query);
  const text = query.toLowerCase();
  return nodes.filter((node) => step ? node.t === Number(step[1])
    : [node.label, node.op, node.path].some((name) => name.toLowerCase().includes(text)));
}

find("search").addEventListener("input", () => {
  const query = find("search").value.trim();
  for (const box of boxes) box.classList.remove("match");
  matches = query ? [...new Set(matching(query).map((node) => boxOf.get(node.id)))] : [];
  current = -1;
  for (const box of matches) box.classList.add("match");
  find("found").textContent = query ? `${matches.length} found` : "";
});
find("search").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !matches.length) return;
  current = (current + (event.shiftKey ? matches.length - 1 : 1)) % matches.length;
  find("found").textContent = `${current + 1} of ${matches.length}`;
  reveal(matches[current]);
  centre(matches[current]);
  select(matches[current]);
});

// The backward pass -----------------------------------------------------------------------------------------------

let step = 0; // how many nodes the pass has visited

function walk(next) {
  step = Math.min(Math.max(next, 0), gradients.order.length);
  find("slider").value = step;
  paint();
  if (step === 0) {
    find("at").textContent = `before the first of ${gradients.order.length} nodes`;
    return;
  }
  const id = gradients.order[step - 1];
  find("at").textContent = `${step} of ${gradients.order.length}: ${nodes[id].label}` + (nodes[id].t === null ? "" : ` (t = ${nodes[id].t})`);
  const box = boxOf.get(id);
  reveal(box);
  select(box, [id]);
  find("details").insertBefore(rule(id), find("details").children[1]);
  const place = frameOf(box).getBBox();
  const inside = place.x >= view.x && place.x + place.width <= view.x + view.width
    && place.y >= view.y && place.y + place.height <= view.y + view.height;
  if (!inside) centre(box);
}

// What the rule of a node took and gave, with shapes and norms.
function rule(id) {
  const made = element("div");
  made.append(element("h3", "This step of the backward pass"));
  const given = edges.flatMap((edge, index) => edge.target === id && gradients.edges[index] !== undefined
    ? [[`to ${edge.argument}`, `${edge.shape}, norm ${number(gradients.edges[index])}`]] : []);
  made.append(list([["arrives", `${nodes[id].outputs.join(", ")}, norm ${number(normOf([id]))}`], ...given]));
  return made;
}

function prepareWalk() {
  const slider = find("slider");
  slider.max = gradients.order.length;
  slider.addEventListener("input", () => walk(Number(slider.value)));
  find("back").addEventListener("click", () => walk(step - 1));
  find("forth").addEventListener("click", () => walk(step + 1));
  const times = [...new Set(gradients.order.map((id) => nodes[id].t).filter((t) => t !== null))];
  find("jump").append(element("option", "jump to …", { value: "" }), ...times.map((t) => element("option", `t = ${t}`, { value: t })));
  find("jump").hidden = !times.length;
  find("jump").addEventListener("change", () => {
    const chosen = Number(find("jump").value);
    if (find("jump").value !== "") walk(1 + gradients.order.findIndex((id) => nodes[id].t === chosen));
    find("jump").value = "";
  });
  find("heat").addEventListener("change", paint);
  walk(0);
}

// Tabs ----------------------------------------------------------------------------------------------------------------

const INK = ["#0077bb", "#ee7733", "#009988", "#cc3311", "#33bbee", "#ee3377", "#888888"];

// Norms over time on a logarithmic axis: a line for each operation that is used at several time steps.
function overTime() {
  const roles = new Map();
  for (const id of gradients.order) {
    const node = nodes[id];
    const norm = normOf([id]);
    if (node.t === null || typeof norm !== "number" || norm <= 0) continue;
    const key = `${node.path}: ${node.op}`;
    if (!roles.has(key)) roles.set(key, new Map());
    const at = roles.get(key);
    at.set(node.t, Math.hypot(at.get(node.t) || 0, norm));
  }
  const lines = [...roles].filter(([, at]) => at.size > 1);
  const chart = shape("svg", { viewBox: "0 0 720 380", class: "chart" });
  if (!lines.length) return [element("p", "No operation has gradients at more than one time step.")];
  const times = lines.flatMap(([, at]) => [...at.keys()]);
  const norms = lines.flatMap(([, at]) => [...at.values()]).map(Math.log10);
  const [t0, t1, low, high] = [Math.min(...times), Math.max(...times), Math.floor(Math.min(...norms)), Math.ceil(Math.max(...norms) + 1e-9)];
  const x = (t) => 60 + (640 * (t - t0)) / (t1 - t0);
  const y = (log) => 320 - (300 * (log - low)) / Math.max(high - low, 1);
  const every = Math.ceil((high - low) / 8) || 1;
  for (let log = low; log <= high; log += every) {
    chart.append(shape("line", { x1: 60, x2: 700, y1: y(log), y2: y(log), class: "grid" }), shape("text", { x: 54, y: y(log) + 4, class: "end" }, `1e${log}`));
  }
  for (const t of [t0, Math.round((t0 + t1) / 2), t1]) chart.append(shape("text", { x: x(t), y: 338, class: "middle" }, `t = ${t}`));
  const made = [element("h2", "Norms of the gradients over time"), chart];
  const key = element("ul", "", { class: "key" });
  lines.forEach(([name, at], index) => {
    const points = [...at].sort((a, b) => a[0] - b[0]);
    const colour = INK[index % INK.length];
    chart.append(shape("polyline", { points: points.map(([t, norm]) => `${x(t)},${y(Math.log10(norm))}`).join(" "), style: `stroke: ${colour}`, class: "line" }));
    for (const [t, norm] of points) {
      const dot = shape("circle", { cx: x(t), cy: y(Math.log10(norm)), r: 3, style: `fill: ${colour}` });
      dot.append(shape("title", {}, `${name}, t = ${t}: ${number(norm)}`));
      chart.append(dot);
    }
    const item = element("li", name);
    item.style.color = colour;
    key.append(item);
  });
  return [...made, key];
}

// How much of each loss reaches each step, as the page was given it.
function reach() {
  const rows = data.reach;
  const known = rows.flat().filter((value) => typeof value === "number" && value > 0).map(Math.log10);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const size = Math.min(640 / rows[0].length, 340 / rows.length);
  const chart = shape("svg", { viewBox: "0 0 720 380", class: "chart" });
  rows.forEach((row, s) => row.forEach((value, t) => {
    if (value === null) return;
    const place = high > low && typeof value === "number" && value > 0 ? (Math.log10(value) - low) / (high - low) : value > 0 ? 1 : 0;
    const fill = typeof value !== "number" ? data.scale.broken : value === 0 ? data.scale.zero : data.scale.colours[Math.round(place * (data.scale.colours.length - 1))];
    const cell = shape("rect", { x: 50 + t * size, y: 5 + (rows.length - 1 - s) * size, width: size, height: size, style: `fill: ${fill}` });
    cell.append(shape("title", {}, `loss ${s} at step ${t}: ${number(value)}`));
    chart.append(cell);
  }));
  chart.append(shape("text", { x: 50, y: size * rows.length + 20 }, "time step t →"), shape("text", { x: 4, y: 16 }, "loss s ↑"));
  return [element("h2", "How much of each loss reaches each time step"), chart, element("p", `from ${number(10 ** low)} (dark) to ${number(10 ** high)} (light), on a logarithmic scale`, { class: "quiet" })];
}

const tabs = { graph: null, time: gradients && overTime, reach: data.reach && reach };
for (const [name, make] of Object.entries(tabs)) {
  const tab = find(`tab-${name}`);
  tab.hidden = !make && (name !== "graph" || !Object.values(tabs).some(Boolean));
  tab.addEventListener("click", () => {
    for (const other of Object.keys(tabs)) find(`tab-${other}`).setAttribute("aria-selected", other === name);
    picture.hidden = name !== "graph";
    find("chart").hidden = name === "graph";
    if (make) find("chart").replaceChildren(...make());
  });
}

// Keys and the rest -----------------------------------------------------------------------------------------------

const keys = {
  "+": () => zoom(1 / 1.3),
  "-": () => zoom(1.3),
  0: () => show({ ...full }),
  ArrowLeft: () => gradients && walk(step - 1),
  ArrowRight: () => gradients && walk(step + 1),
};
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=search], select, input[type=range]");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
  event.preventDefault();
  keys[event.key]();
});
find("fit").addEventListener("click", keys[0]);
find("closer").addEventListener("click", keys["+"]);
find("farther").addEventListener("click", keys["-"]);
find("save").addEventListener("click", () => {
  const link = element("a", "", { download: "graph.svg" });
  link.href = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" }));
  link.click();
  URL.revokeObjectURL(link.href);
});

if (data.closed) {
  const innermost = scopes.map(({ frame }) => frame).filter((frame, _, all) => !all.some((other) => other !== frame && inside(other, frame)));
  closed = new Set(innermost);
  arrange();
}
begin();
if (gradients) prepareWalk();
else {
  document.querySelector("footer").hidden = true;
  find("heat-label").hidden = true;
}
find("details").append(element("h2", "Click a node"), element("p",
  `${nodes.length} nodes, ${edges.length} edges. Drag to move, wheel or + and − to zoom, 0 to see everything.`
  + (gradients ? " ◀ ▶ or the arrow keys go through the backward pass." : ""), { class: "quiet" }));
document.documentElement.dataset.ready = "yes";
