// The timeline: lanes of faults, nodes and processes. Narrow operations melt into columns of pixels;
// a column shows the worst outcome in it, by colour and by height, so that a failure never hides.
const HEIGHTS = [0, 0.5, 0.7, 1, 1];
const LANE_MAX = 24, LANE_MIN = 5, BODY_MAX = 520;
const kinds = [...new Map(meta.faults.filter((f) => f.outcome !== "skipped").map((f) => [f.kind, f.slot]))];
const nodesWithEvents = (meta.nodes || []).filter((node) => node.events.length);
const layout = () => {
  const lanes = (meta.lanes || []).length || 1;
  const top = 8 + 16 * kinds.length + 16 * nodesWithEvents.length + 8;
  const lane = Math.min(LANE_MAX, Math.max(LANE_MIN, Math.floor(BODY_MAX / lanes)));
  const body = Math.min(BODY_MAX, lane * lanes);
  view.scroll = Math.min(Math.max(0, view.scroll), lane * lanes - body);
  return { lanes, top, lane, body };
};
const severity = (i) => (ops.found[i] ? FOUND : ops.outcome[i]);
const shade = (level) => colour(["", "ok", "fail", "info", "bad"][level]);
const fill = (level) => colour(["", "ok-fill", "fail-fill", "info-fill", "bad-fill"][level]);

const firstVisible = (rows) => {
  let low = 0, high = rows.length;
  while (low < high) { const middle = (low + high) >> 1; if (ops.end[rows[middle]] < view.t0) low = middle + 1; else high = middle; }
  return low;
};
const isWhole = () => meta.complete || meta.windows.some(([begin, end]) => begin <= Math.max(0, view.t0) && Math.min(view.t1, meta.end) <= end);

const drawTimeline = () => {
  const canvas = $("timeline-canvas");
  const { lanes, top, lane, body } = layout();
  const plot = prepare(canvas, top + body + 24);
  const { pen, width } = plot;
  bands(plot, 0, top + body);
  drawFaultRows(plot);
  drawNodeRows(plot, 8 + 16 * kinds.length);
  pen.save();
  pen.beginPath(); pen.rect(0, top, width, body); pen.clip();
  let melted = 0;
  const raster = new Raster(width, body);
  const visible = [];
  for (let n = 0; n < lanes; n++) {
    const y = top + n * lane - view.scroll;
    if (y <= top + body && y + lane >= top) visible.push([n, y]);
  }
  for (const [n, y] of visible) drawLaneFrame(plot, n, y, lane);
  for (const [n, y] of visible) melted += meltLane(plot, raster, n, y - top, lane);
  raster.paint(pen, top);
  for (const [n, y] of visible) drawBoxes(plot, n, y, lane);
  pen.restore();
  ticks(plot, top, top + body);
  axis(plot, top + body);
  $("mode").textContent = !isWhole() ? "worst outcome per slice" : melted ? "narrow operations melt: the worst outcome per pixel shows; zoom in for each" : "one bar per operation";
  canvas.dataset.drawn = String(ops.count);
};
const drawFaultRows = ({ pen, x, width }) => {
  kinds.forEach(([kind, slot], row) => {
    const y = 8 + 16 * row;
    pen.textAlign = "right"; pen.fillStyle = colour(`f${slot}`); pen.fillText(kind, LEFT - 8, y + 6, LEFT - 12);
    for (const fault of meta.faults) {
      if (fault.kind !== kind || fault.outcome === "skipped") continue;
      const x0 = Math.max(LEFT, x(fault.begin)), x1 = Math.min(width - RIGHT, x(fault.end ?? meta.end));
      if (x1 < LEFT || x0 > width - RIGHT) continue;
      pen.fillStyle = colour(`f${slot}`); pen.fillRect(x0, y, Math.max(2, x1 - x0), 3);
      pen.fillRect(x0, y, 2, 12); if (fault.end !== null) pen.fillRect(x1 - 2, y, 2, 12);
      const room = x1 - x0 - 8, text = fault.label;
      if (room > 24) { pen.save(); pen.beginPath(); pen.rect(x0, y, room + 6, 14); pen.clip(); pen.textAlign = "left"; pen.fillStyle = colour("ink"); pen.fillText(text, x0 + 5, y + 9); pen.restore(); }
    }
  });
};
const drawNodeRows = ({ pen, x, width }, top) => {
  nodesWithEvents.forEach((node, row) => {
    const y = top + 16 * row;
    pen.textAlign = "right"; pen.fillStyle = colour("soft"); pen.fillText(node.name, LEFT - 8, y + 7, LEFT - 12);
    node.events.forEach((event, n) => {
      const next = node.events.slice(n + 1).find((later) => later.role || /kill|stop|crash|exit|down/i.test(later.event));
      const x0 = Math.max(LEFT, x(event.t)), x1 = Math.min(width - RIGHT, next ? x(next.t) : width);
      if (x1 < LEFT || x0 > width - RIGHT) return;
      const leads = /leader|primary|master/i.test(event.role);
      if (event.role) { pen.globalAlpha = leads ? 0.9 : 0.25; pen.fillStyle = colour(leads ? "valid" : "soft"); pen.fillRect(x0, leads ? y + 3 : y + 6, Math.max(1, x1 - x0 - 1), leads ? 9 : 3); pen.globalAlpha = 1; }
      else { pen.fillStyle = colour("ink"); pen.fillRect(x0 - 1, y + 2, 2, 11); }
      if (leads && x1 - x0 > 44) { pen.textAlign = "left"; pen.fillStyle = colour("panel"); pen.fillText("♛ leader", x0 + 4, y + 8, x1 - x0 - 6); }
    });
  });
};
const drawLaneFrame = ({ pen, width }, n, y, lane) => {
  if (lane >= 10) {
    pen.textAlign = "right"; pen.fillStyle = colour("soft"); pen.fillText(meta.lanes[n], LEFT - 8, y + lane / 2, LEFT - 12);
  }
  pen.fillStyle = colour("faint"); pen.fillRect(LEFT, Math.round(y + lane) - 1, width - LEFT - RIGHT, 1);
};
// Columns of pixels for the operations too narrow for a box; how many there were.
const meltLane = ({ x, width }, raster, n, y, lane) => {
  const pixels = new Uint8Array(Math.max(1, Math.ceil(width)));
  if (!isWhole()) paintDensity({ x, width }, n, pixels);
  const rows = ops.byLane[n], scale = (width - LEFT - RIGHT) / (view.t1 - view.t0), right = width - RIGHT;
  let melted = 0;
  for (let at = firstVisible(rows); at < rows.length; at++) {
    const i = rows[at];
    if (ops.t[i] > view.t1) break;
    const x0 = Math.max(LEFT, LEFT + (ops.t[i] - view.t0) * scale), x1 = Math.min(right, LEFT + (ops.end[i] - view.t0) * scale);
    if (x1 - x0 >= 3) continue;
    melted++;
    const level = ops.found[i] ? FOUND : ops.outcome[i], dim = view.mask && !view.mask[i];
    const last = Math.min(right, level === FOUND ? Math.max(x1, x0 + 2) : x1);
    for (let pixel = x0 | 0; pixel <= last; pixel++) {
      if (!dim && (level > pixels[pixel] || pixels[pixel] === 9)) pixels[pixel] = level;
      else if (dim && !pixels[pixel]) pixels[pixel] = 9;
    }
  }
  for (let pixel = LEFT; pixel < pixels.length; pixel++) {
    const level = pixels[pixel];
    if (!level) continue;
    const tall = Math.max(1, (lane - 2) * (level === 9 ? 0.2 : HEIGHTS[level]));
    raster.column(pixel, y + (lane - 1 - tall) / 2, tall, level === 9 ? colour("line") : shade(level));
  }
  return melted;
};
const drawBoxes = ({ pen, x, width }, n, y, lane) => {
  const rows = ops.byLane[n], least = 3 / (width - LEFT - RIGHT) * (view.t1 - view.t0);
  for (let at = firstVisible(rows); at < rows.length && ops.t[rows[at]] <= view.t1; at++) {
    const i = rows[at];
    if (ops.end[i] - ops.t[i] < least) continue;
    const x0 = Math.max(LEFT, x(ops.t[i])), x1 = Math.min(width - RIGHT, x(ops.end[i]));
    if (x1 - x0 >= 3) drawBox(pen, i, x0, x1, y, lane);
  }
};
const paintDensity = ({ x, width }, n, pixels) => {
  const slices = meta.density.slices, span = meta.end / slices;
  for (let slice = Math.max(0, Math.floor(view.t0 / span)); slice < slices && slice * span < view.t1; slice++) {
    const level = ops.worst[n * slices + slice];
    if (!level) continue;
    const last = Math.min(width - RIGHT, x((slice + 1) * span));
    for (let pixel = Math.max(LEFT, Math.floor(x(slice * span))); pixel < last; pixel++) if (level > pixels[pixel]) pixels[pixel] = level;
  }
};
const drawBox = (pen, i, x0, x1, y, lane) => {
  const level = severity(i), high = Math.max(2, lane - 4), top = y + 1;
  pen.globalAlpha = view.mask && !view.mask[i] ? 0.15 : 1;
  pen.fillStyle = fill(level); pen.strokeStyle = shade(level); pen.lineWidth = 1;
  pen.beginPath();
  if (ops.outcome[i] === INFO && x1 - x0 > 8) {
    pen.moveTo(x1, top); pen.lineTo(x0, top); pen.lineTo(x0, top + high);
    for (let tooth = 4; tooth >= 0; tooth--) pen.lineTo(x1 - (tooth % 2 ? 4 : 0), top + high * tooth / 4);
  } else pen.rect(x0 + 0.5, top + 0.5, x1 - x0 - 1, high - 1);
  pen.fill(); pen.stroke();
  if (ops.outcome[i] === FAIL && lane > 8) { pen.beginPath(); pen.moveTo(x0, top + high); pen.lineTo(Math.min(x1, x0 + high), top); pen.stroke(); }
  if (level === FOUND) { pen.fillStyle = shade(FOUND); pen.fillRect(x0, top - 1, x1 - x0, 3); }
  if (i === view.chosen) { pen.lineWidth = 2.5; pen.strokeStyle = colour("ink"); pen.strokeRect(x0, top, x1 - x0, high); }
  if (lane >= 14 && x1 - x0 > 34) {
    pen.save(); pen.beginPath(); pen.rect(x0 + 2, top, x1 - x0 - 6, high); pen.clip();
    pen.fillStyle = colour("ink"); pen.textAlign = "left"; pen.fillText(words(i), x0 + 5, top + high / 2 + 0.5); pen.restore();
  }
  pen.globalAlpha = 1;
};

const pick = (event) => {
  const { lanes, top, lane } = layout();
  const canvas = $("timeline-canvas"), n = Math.floor((event.offsetY - top + view.scroll) / lane);
  if (n < 0 || n >= lanes) return;
  const t = timeAt(canvas, event.offsetX), slack = (view.t1 - view.t0) / canvas.clientWidth * 6;
  let best = -1, least = Infinity;
  const rows = ops.byLane[n];
  for (let at = Math.max(0, firstVisible(rows) - 1); at < rows.length && ops.t[rows[at]] <= t + slack; at++) {
    const i = rows[at], far = Math.max(ops.t[i] - t, t - ops.end[i], 0) - (ops.found[i] ? slack / 2 : 0);
    if (far <= slack && far < least) { best = i; least = far; }
  }
  if (best >= 0) choose(best);
};
const choose = (i) => {
  view.chosen = i;
  if (ops.end[i] < view.t0 || ops.t[i] > view.t1) show(ops.t[i], ops.end[i]);
  const box = $("details");
  box.hidden = false;
  box.replaceChildren();
  box.append(make("h3", `${words(i)} — ${NAMES[ops.outcome[i]]}`));
  const list = make("dl");
  const facts = [["index", ops.index[i]], ["process", processOf(i)], ["node", nodeOf(i)], ["key", keyOf(i)],
    ["asked", asked(i)], ["answered", answered(i)], ["begin", `${seconds(ops.t[i], 0)} s`],
    ["end", ops.open[i] ? "not recorded" : `${seconds(ops.end[i], 0)} s`], ["took", ops.open[i] ? "not known" : took(ops.end[i] - ops.t[i])],
    ["error", errorOf(i)], ["findings", meta.findings.filter((f) => f.ops.includes(ops.index[i])).map((f) => f.anchor).join(", ")],
    ["during", meta.faults.filter((f) => f.begin <= ops.end[i] && (f.end ?? meta.end) >= ops.t[i] && f.outcome !== "skipped").map((f) => f.label).slice(0, 4).join("; ")]];
  for (const [name, text] of facts) if (text !== "") { const row = make("div"); row.append(make("dt", name), make("dd", String(text))); list.append(row); }
  box.append(list);
  const near = overlapping(i);
  if (near.length) {
    box.append(make("h4", `Concurrent${ops.key[i] ? " on this key" : ""} (${near.length}${near.length === 12 ? " or more" : ""})`));
    const others = make("ul");
    for (const other of near) {
      const item = make("li"), button = make("button", `process ${processOf(other)}: ${words(other)} — ${NAMES[ops.outcome[other]]}`, "linkish");
      button.type = "button"; button.addEventListener("click", () => choose(other));
      item.append(button); others.append(item);
    }
    box.append(others);
  }
  changed();
};
const overlapping = (i) => {
  const near = [];
  for (const rows of ops.byLane) for (const other of rows) {
    if (ops.t[other] > ops.end[i] || near.length >= 12) break;
    if (other !== i && ops.end[other] >= ops.t[i] && ops.key[other] === ops.key[i]) near.push(other);
  }
  return near;
};
const step = (by) => {
  if (view.chosen < 0) return;
  const rows = ops.byLane[ops.lane[view.chosen]], at = rows.indexOf(view.chosen) + by;
  if (rows[at] !== undefined) choose(rows[at]);
};

const startTimeline = () => {
  const canvas = $("timeline-canvas");
  $("timeline-box").hidden = false; $("search").hidden = false;
  movable(canvas, pick);
  canvas.addEventListener("keydown", (event) => {
    const acts = {
      ArrowLeft: () => (event.shiftKey ? step(-1) : move(-0.15)), ArrowRight: () => (event.shiftKey ? step(1) : move(0.15)),
      ArrowUp: () => { view.scroll -= 40; changed(); }, ArrowDown: () => { view.scroll += 40; changed(); },
      "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1.6), Home: () => clampView(0, meta.end), Escape: () => canvas.blur(),
      Enter: () => { const middle = (view.t0 + view.t1) / 2; let best = -1, least = Infinity; for (let i = 0; i < ops.count; i++) { const far = Math.abs((ops.t[i] + ops.end[i]) / 2 - middle); if (far < least) { least = far; best = i; } } if (best >= 0) choose(best); },
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });
  for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => {
    ({ in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.4), right: () => move(0.4), all: () => clampView(0, meta.end) })[button.dataset.move]();
  });
  for (const button of document.querySelectorAll(".jump")) {
    const finding = meta.findings.find((entry) => entry.anchor === button.dataset.finding);
    if (!finding) continue;
    button.hidden = false;
    button.addEventListener("click", () => { show(finding.begin, finding.end); scrollToLane(finding); $("timeline").scrollIntoView(); canvas.focus({ preventScroll: true }); });
  }
  const strip = $("strip");
  if (strip) strip.addEventListener("click", (event) => {
    if (event.target.closest("a")) return;
    const box = strip.getBoundingClientRect(), t = (event.clientX - box.left) / box.width * meta.end;
    show(t - meta.end / 60, t + meta.end / 60); $("timeline").scrollIntoView();
  });
  onChange(canvas, drawTimeline);
};
const scrollToLane = (finding) => {
  const rows = finding.ops.map((index) => ops.rowOf.get(index)).filter((i) => i !== undefined);
  const { lane, body } = layout();
  if (rows.length) view.scroll = Math.min(...rows.map((i) => ops.lane[i])) * lane - body / 3;
};
