// The data: inflate the columns, keep the view, notify the drawing code of changes.
const $ = (id) => document.getElementById(id);
const meta = JSON.parse($("data").textContent);
const root = document.documentElement;
const OK = 1, FAIL = 2, INFO = 3, FOUND = 4;
const NAMES = ["", "ok", "fail", "info"];
const view = { t0: 0, t1: Math.max(1, meta.end || 1), scroll: 0, chosen: -1, mask: null, matches: 0 };
// Each canvas is drawn when it changed and is on the screen, or about to be.
const drawers = [];
const onChange = (canvas, draw) => drawers.push({ canvas, draw, stale: true, drawn: false });
let pending = false;
const redraw = () => {
  pending = false;
  for (const entry of drawers) {
    if (!entry.stale) continue;
    const box = entry.canvas.getBoundingClientRect();
    if (entry.drawn && (box.bottom < -200 || box.top > innerHeight + 200)) continue;
    entry.stale = false; entry.drawn = true;
    entry.draw();
  }
};
const schedule = () => { if (!pending) { pending = true; requestAnimationFrame(redraw); } };
const changed = () => { for (const entry of drawers) entry.stale = true; schedule(); };
addEventListener("scroll", schedule, { passive: true });

const inflate = async (blob) => {
  const packed = Uint8Array.from(atob(blob), (char) => char.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};

const varints = (bytes, at, size, count) => {
  const out = new Float64Array(count);
  const end = at + size;
  for (let n = 0; n < count && at < end; n++) {
    let value = 0, scale = 1, byte;
    do { byte = bytes[at++]; value += (byte & 127) * scale; scale *= 128; } while (byte > 127);
    out[n] = value;
  }
  return out;
};
const unzigzag = (n) => (n % 2 ? -(n + 1) / 2 : n / 2);

const ops = { count: 0 };
const load = async () => {
  if (!meta.count) return;
  const bytes = await inflate(meta.blob);
  let at = 0;
  const raw = {};
  for (const [name, size] of meta.columns) { raw[name] = varints(bytes, at, size, meta.count); at += size; }
  Object.assign(ops, JSON.parse(new TextDecoder().decode(bytes.subarray(at))));
  ops.count = meta.count;
  for (const name of ["index", "t"]) {
    let sum = 0;
    raw[name] = raw[name].map((n) => (sum += unzigzag(n)));
  }
  ops.index = raw.index; ops.t = raw.t;
  for (const name of ["process", "f", "key", "node", "input", "error"]) ops[name] = Int32Array.from(raw[name]);
  ops.open = Uint8Array.from(raw.d, (d) => (d === 0 ? 1 : 0));
  ops.output = Int32Array.from(raw.output, (n, i) => ops.input[i] + unzigzag(n));
  ops.outcome = Uint8Array.from(raw.outcome);
  ops.lane = Int32Array.from(ops.process, (p) => ops.laneOf[p]);
  ops.rowOf = new Map();
  for (let i = 0; i < ops.count; i++) ops.rowOf.set(ops.index[i], i);
  ops.byLane = meta.lanes.map(() => []);
  for (let i = 0; i < ops.count; i++) ops.byLane[ops.lane[i]].push(i);
  ops.end = Float64Array.from(raw.d, (d, i) => ops.t[i] + d - 1);
  for (const rows of ops.byLane) rows.forEach((i, n) => {
    if (ops.open[i]) ops.end[i] = n + 1 < rows.length ? Math.max(ops.t[i], ops.t[rows[n + 1]] - 1) : Math.max(meta.end, ops.t[i]);
  });
  ops.found = new Uint8Array(ops.count);
  for (const finding of meta.findings) for (const index of finding.ops) {
    if (ops.rowOf.has(index)) ops.found[ops.rowOf.get(index)] = 1;
  }
  if (meta.density) ops.worst = await inflate(meta.density.blob);
};

const seconds = (us, span) => {
  if (!meta.realTimes) return `${Math.round(us)}`;
  const digits = span < 2e3 ? 6 : span < 2e4 ? 5 : span < 2e5 ? 4 : span < 2e7 ? 3 : span < 2e8 ? 1 : 0;
  return (us / 1e6).toFixed(digits);
};
const took = (us) => (us < 1e3 ? `${us} µs` : us < 1e6 ? `${(us / 1e3).toPrecision(3)} ms` : `${(us / 1e6).toPrecision(3)} s`);
const keyOf = (i) => (ops.key[i] ? ops.keys[ops.key[i] - 1] : "");
const nodeOf = (i) => (ops.node[i] ? ops.nodes[ops.node[i] - 1] : "");
const processOf = (i) => ops.processes[ops.process[i]];
const asked = (i) => (ops.input[i] ? ops.values[ops.input[i]] : "");
const answered = (i) => (ops.output[i] && ops.outcome[i] === OK ? ops.values[ops.output[i]] : "");
const errorOf = (i) => (ops.error[i] ? ops.errors[ops.error[i]] : "");
const words = (i) => {
  const result = answered(i);
  const shown = result && result !== asked(i) ? `${asked(i)} → ${result}` : asked(i);
  return `${ops.functions[ops.f[i]]} ${keyOf(i)} ${shown}`.replace(/ +/g, " ").trim();
};
const clampView = (t0, t1) => {
  const end = Math.max(1, meta.end);
  const span = Math.min(end * 1.02, Math.max(20, t1 - t0));
  view.t0 = Math.min(Math.max(t0, -end * 0.01), end * 1.01 - span);
  view.t1 = view.t0 + span;
  changed();
};
const show = (begin, end) => {
  const room = Math.max(end - begin, 2000) * 0.6;
  clampView(begin - room, end + room);
};
const make = (tag, text, className) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
};
