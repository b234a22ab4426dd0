"use strict";

// A graph without time, laid out by Graphviz. The picture in the page is a tower of rows; Graphviz is told how large what
// is seen of it is, and says where it goes. A closed box is one node of what is laid out, so that all else moves together.

const PAD = 10;
const sizeOf = (frame) => frame.width * frame.height;
const frames = scopes.map(({ frame }) => frame).sort((a, b) => sizeOf(b) - sizeOf(a));
const around = (frame) => frames.filter((other) => other !== frame && inside(frame, other)); // the outermost first

// Units are what can be placed: the nodes with their chips, and the boxes of scopes.
const partsOf = Map.groupBy(kept.filter(({ part }) => part.closest(".node")), ({ part }) => part.closest(".node"));
const nodeUnits = [...partsOf].map(([group, parts]) => {
  const frame = parts.find(({ part }) => part === frameOf(group));
  const bottom = Math.max(...parts.map(({ y, height }) => y + height));
  return { group, parts, frame, width: frame.width, height: bottom - frame.y, around: around(frame) };
});
const boxUnits = frames.map((frame) => {
  const group = frame.part.parentNode;
  const label = group.querySelector("text");
  const one = kept.find(({ part }) => part === label);
  return { group, frame, label, dx: one.x - frame.x, dy: one.y - frame.y, width: label.getComputedTextLength() + 10, height: BAR, around: around(frame) };
});
const unitOf = new Map(nodeUnits.map((unit) => [unit.group, unit]));
const boxUnitOf = new Map(boxUnits.map((unit) => [unit.frame, unit]));
const ways = kept.filter(({ points }) => points).map(({ part }) => {
  const first = Number(part.dataset.edges.split(" ")[0]);
  let label = part.nextElementSibling;
  if (!label?.matches(".edge-label")) {
    label = shape("text", { class: "edge-label" }, data.labels[first]); // the tower has no room for it
    part.after(label);
  }
  label.style.textAnchor = "middle";
  return { part, label, ends: [edges[first].source, edges[first].target].map((id) => unitOf.get(boxOf.get(id))) };
});
for (const way of ways) way.room = way.label.getComputedTextLength(); // all of them at once: measuring lays out the page
const notes = kept.filter(({ part }) => part.tagName === "text" && part.parentNode === svg && part.matches(".small"));
const noteWidth = Math.max(0, ...notes.map(({ x, part }) => 2 * x + part.getComputedTextLength()));
const noteHeight = notes.length ? whole.height - Math.min(...notes.map(({ y }) => y)) + 12 : 0;

// What is seen of a unit: itself, or the outermost closed box that it lies in.
function seen(unit) {
  const frame = unit.around.find((other) => closed.has(other));
  return frame ? boxUnitOf.get(frame) : unit;
}
const isNode = (unit) => !unit.label || closed.has(unit.frame);

// What is seen, as DOT, and the units by their number there. Drawn upwards, labels at the bottom come to the top.
function dot() {
  const lines = ["digraph { rankdir=BT; nodesep=0.3; ranksep=0.3; node [shape=box, fixedsize=true, label=\"\"]; edge [arrowhead=none];"];
  const named = [...nodeUnits, ...boxUnits].filter((unit) => seen(unit) === unit);
  const blank = (width, height) => `label=<<table border="0" fixedsize="true" width="${Math.ceil(width)}" height="${height}"><tr><td></td></tr></table>>`;
  const members = Map.groupBy(named, ({ around }) => around.at(-1));
  const numbers = new Map(named.map((unit, index) => [unit, index]));
  function write(frame) {
    for (const unit of members.get(frame) ?? []) {
      const number = numbers.get(unit);
      if (isNode(unit)) lines.push(`n${number} [width=${unit.width / 72}, height=${unit.height / 72}];`);
      else {
        lines.push(`subgraph cluster_${number} { margin=${PAD}; labelloc=b; ${blank(unit.width, 8)};`);
        write(unit.frame);
        lines.push("}");
      }
    }
  }
  write(undefined);
  const drawn = new Map(); // by their ends: of several ways between the same two, which closed boxes have, the first
  ways.forEach((way, index) => {
    const [source, target] = way.ends.map(seen);
    const key = way.ends.some((unit) => seen(unit) !== unit) ? `${numbers.get(source)} ${numbers.get(target)}` : index;
    if (source === target || drawn.has(key)) return;
    drawn.set(key, way);
    const text = way.room && way.ends.every((unit) => seen(unit) === unit) ? blank(way.room + 4, 9) : "";
    lines.push(`n${numbers.get(source)} -> n${numbers.get(target)} [way=${index}${text && ", " + text}];`);
  });
  lines.push("}");
  return [lines.join("\n"), named];
}

// Puts everything where Graphviz says that it goes: its y grows upwards, ours downwards. The box that was closed or
// opened stays where it is on the screen.
function place(graphviz, frame) {
  const corner = () => ["x", "y"].map((name) => Number(frame.part.getAttribute(name)));
  const before = frame && corner();
  const [text, named] = dot();
  const found = JSON.parse(graphviz.layout(text, "json0", "dot"));
  const numbersOf = (list) => list.split(/[ ,]/).map(Number);
  const [, , right, top] = numbersOf(found.bb);
  const at = (x, y) => [x + PAD, top - y + PAD];

  for (const unit of [...nodeUnits, ...boxUnits]) unit.group.classList.toggle("folded", seen(unit) !== unit);
  for (const { name, pos, bb } of found.objects) {
    const unit = named[Number(name.replace(/\D+/, ""))];
    if (bb) {
      const [left, low, end, high] = numbersOf(bb);
      frameTo(unit, ...at(left, high), end - left, high - low);
    } else {
      const [x, y] = at(...numbersOf(pos));
      const [left, above] = [x - unit.width / 2, y - unit.height / 2];
      if (unit.label) frameTo(unit, left, above, unit.width, unit.height);
      else for (const one of unit.parts) set(one.part, { x: one.x - unit.frame.x + left, y: one.y - unit.frame.y + above });
    }
  }

  for (const { part, label } of ways) for (const each of [part, label]) each.classList.add("folded");
  for (const { way, pos, lp } of found.edges ?? []) {
    const { part, label } = ways[Number(way)];
    const points = pos.split(" ").map((pair) => at(...numbersOf(pair)).map((value) => value.toFixed(1)).join(","));
    part.setAttribute("d", `M${points[0]} C${points.slice(1).join(" ")}`);
    part.classList.remove("folded");
    if (!lp) continue;
    const [x, y] = at(...numbersOf(lp));
    set(label, { x, y: y + 3 });
    label.classList.remove("folded");
  }
  finish(Math.max(right + 2 * PAD, noteWidth), top + 2 * PAD);
  if (frame) {
    const [x, y] = corner();
    show({ ...view, x: view.x + x - before[0], y: view.y + y - before[1] });
  } else show({ ...full });
}

function set(part, attributes) {
  for (const [name, value] of Object.entries(attributes)) part.setAttribute(name, value.toFixed(1));
}

function frameTo(unit, x, y, width, height) {
  set(unit.frame.part, { x, y, width, height });
  unit.frame.part.classList.toggle("closed", closed.has(unit.frame));
  set(unit.label, { x: x + unit.dx, y: y + unit.dy });
}

// The sheet gets the size of what is on it, with the list of shared parameters at its foot.
function finish(width, height) {
  for (const { part, y } of notes) set(part, { y: y - whole.height + height + noteHeight });
  for (const part of [svg, svg.querySelector(".paper")]) set(part, { width, height: height + noteHeight });
  Object.assign(full, { x: 0, y: 0, width, height: height + noteHeight });
}

// Called by the script of Graphviz at the end of the page. Where WebAssembly is not to be had, the tower remains.
async function layOut(Graphviz) {
  try {
    const graphviz = await Graphviz.load();
    arrange = (frame) => place(graphviz, frame);
    arrange();
    begin();
  } catch (error) {
    find("stretch").textContent = `in rows, as Graphviz could not run here: ${error.message}`;
  }
  document.documentElement.dataset.layout = "done";
}
