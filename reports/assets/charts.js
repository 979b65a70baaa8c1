// Latency, quantiles and rate, on the timeline's time axis.
const H = 190, RAIL = 22;
const logAxis = (plot, low, high, bottom) => {
  const { pen, width } = plot;
  const y = (us) => bottom - (Math.log10(Math.max(us, low)) - Math.log10(low)) / (Math.log10(high) - Math.log10(low)) * (bottom - RAIL - 10);
  pen.textAlign = "right"; pen.fillStyle = colour("soft"); pen.strokeStyle = colour("faint"); pen.lineWidth = 1;
  for (let us = low; us <= high; us *= 10) {
    pen.beginPath(); pen.moveTo(LEFT, Math.round(y(us)) + 0.5); pen.lineTo(width - RIGHT, Math.round(y(us)) + 0.5); pen.stroke();
    pen.fillText(us < 1e3 ? `${us} µs` : us < 1e6 ? `${us / 1e3} ms` : `${us / 1e6} s`, LEFT - 8, y(us));
  }
  return y;
};
const latencyRange = () => {
  let low = Infinity, high = 1;
  for (let i = 0; i < ops.count; i++) if (ops.outcome[i] !== INFO && !ops.open[i]) { const d = Math.max(1, ops.end[i] - ops.t[i]); if (d < low) low = d; if (d > high) high = d; }
  low = low === Infinity ? 1 : 10 ** Math.floor(Math.log10(low));
  return [low, Math.max(low * 10, 10 ** Math.ceil(Math.log10(high)))];
};
let range = null;
const drawLatency = () => {
  const canvas = $("latency"), plot = prepare(canvas, H), { pen, x, width } = plot, bottom = H - 24;
  bands(plot, 0, bottom);
  range ??= latencyRange();
  const y = logAxis(plot, range[0], range[1], bottom);
  pen.fillStyle = colour("soft"); pen.textAlign = "right"; pen.fillText("unknown", LEFT - 8, RAIL / 2 + 2);
  pen.strokeStyle = colour("line"); pen.beginPath(); pen.moveTo(LEFT, RAIL + 0.5); pen.lineTo(width - RIGHT, RAIL + 0.5); pen.stroke();
  const later = [], strong = new Raster(width, bottom), faint = new Raster(width, view.mask ? bottom : 1), dot = packed(shade(OK));
  for (let i = 0; i < ops.count; i++) {
    if (ops.t[i] > view.t1 || ops.t[i] < view.t0) continue;
    const level = severity(i);
    if (level !== OK) later.push(i);
    else if (view.mask && !view.mask[i]) faint.dot(x(ops.t[i]), y(ops.end[i] - ops.t[i]), dot);
    else strong.dot(x(ops.t[i]), y(ops.end[i] - ops.t[i]), dot);
  }
  if (view.mask) faint.paint(pen, 0, 0.12);
  strong.paint(pen, 0, 0.65);
  for (const i of later) {
    const level = severity(i), at = x(ops.t[i]), up = ops.outcome[i] === INFO ? RAIL / 2 + 2 : y(ops.end[i] - ops.t[i]);
    pen.globalAlpha = view.mask && !view.mask[i] ? 0.1 : 0.9; pen.strokeStyle = pen.fillStyle = shade(level); pen.lineWidth = 1.2;
    pen.beginPath();
    if (ops.outcome[i] === INFO) { pen.moveTo(at, up - 4); pen.lineTo(at + 4, up + 4); pen.lineTo(at - 4, up + 4); pen.closePath(); pen.stroke(); }
    else if (level === FOUND) { pen.arc(at, up, 4, 0, 7); pen.fill(); }
    else { pen.moveTo(at - 3, up - 3); pen.lineTo(at + 3, up + 3); pen.moveTo(at + 3, up - 3); pen.lineTo(at - 3, up + 3); pen.stroke(); }
  }
  pen.globalAlpha = 1;
  axis(plot, bottom);
  canvas.dataset.drawn = String(ops.count);
};
const curve = ({ pen, x }, values, y, style, dash, wide) => {
  pen.strokeStyle = style; pen.lineWidth = wide; pen.setLineDash(dash); pen.beginPath();
  let up = true;
  values.forEach((value, bucket) => {
    const from = bucket * meta.performance.width, at = from + meta.performance.width / 2;
    if (value < 0 || from > view.t1 || from + meta.performance.width < view.t0) { up = value < 0 || up; return; }
    if (up) pen.moveTo(x(at), y(value)); else pen.lineTo(x(at), y(value));
    up = false;
  });
  pen.stroke(); pen.setLineDash([]);
};
const clipped = (plot, bottom, draw) => {
  plot.pen.save(); plot.pen.beginPath(); plot.pen.rect(LEFT, 0, plot.width - LEFT - RIGHT, bottom); plot.pen.clip(); draw(); plot.pen.restore();
};
const key = ({ pen, width }, entries) => {
  let at = width - RIGHT - 6;
  pen.textAlign = "right";
  for (const [name, style, dash] of [...entries].reverse()) {
    pen.fillStyle = colour("ink"); pen.fillText(name, at, 9); at -= pen.measureText(name).width + 5;
    pen.strokeStyle = style; pen.lineWidth = 2; pen.setLineDash(dash); pen.beginPath(); pen.moveTo(at - 22, 9); pen.lineTo(at, 9); pen.stroke(); pen.setLineDash([]); at -= 34;
  }
};
const drawQuantiles = () => {
  const plot = prepare($("quantiles"), H), bottom = H - 24, { quantiles, names } = meta.performance;
  bands(plot, 0, bottom);
  const all = quantiles.flat().filter((us) => us >= 0);
  const low = 10 ** Math.floor(Math.log10(Math.max(1, all.reduce((a, b) => Math.min(a, b), Infinity) || 1)));
  const high = Math.max(low * 10, 10 ** Math.ceil(Math.log10(Math.max(1, all.reduce((a, b) => Math.max(a, b), 1)))));
  const y = logAxis(plot, low === Infinity ? 1 : low, high === Infinity ? 10 : high, bottom);
  const styles = [[colour("ok"), []], [colour("valid"), [6, 3]], [colour("info"), [2, 2]], [colour("soft"), [1, 3]]];
  clipped(plot, bottom, () => quantiles.forEach((values, n) => curve(plot, values, y, ...styles[n], 1.8)));
  key(plot, names.map((name, n) => [name === "p100" ? "most" : name, ...styles[n]]));
  axis(plot, bottom);
};
const drawRate = () => {
  const plot = prepare($("rate"), H), { pen, width } = plot, bottom = H - 24, { completed, inFlight } = meta.performance;
  bands(plot, 0, bottom);
  const perSecond = 1e6 / meta.performance.width;
  const most = Math.max(1, ...completed.ok, ...completed.fail, ...completed.info) * perSecond, step = niceStep(most, 4);
  const y = (n) => bottom - n / most * (bottom - RAIL);
  pen.textAlign = "right"; pen.fillStyle = colour("soft"); pen.strokeStyle = colour("faint"); pen.lineWidth = 1;
  for (let n = 0; n <= most; n += step) { pen.fillText(`${n.toLocaleString("en")}/s`, LEFT - 8, y(n)); pen.beginPath(); pen.moveTo(LEFT, y(n)); pen.lineTo(width - RIGHT, y(n)); pen.stroke(); }
  const flying = Math.max(1, ...inFlight);
  const lines = [["ok", colour("ok"), []], ["fail", colour("fail"), [6, 3]], ["info", colour("info"), [2, 2]]];
  clipped(plot, bottom, () => {
    for (const [name, style, dash] of lines) curve(plot, completed[name].map((n) => n * perSecond), y, style, dash, 1.8);
    curve(plot, inFlight.map((n) => n / flying * most), y, colour("unknown"), [1, 4], 1.8);
  });
  key(plot, [...lines, [`in flight (top ${flying.toFixed(1)})`, colour("unknown"), [1, 4]]]);
  axis(plot, bottom);
};
const startCharts = () => {
  if (!$("charts")) return;
  $("charts").hidden = false;
  for (const id of ["latency", "quantiles", "rate"]) movable($(id), (event) => { const t = timeAt($(id), event.offsetX); show(t, t); });
  onChange($("latency"), drawLatency); onChange($("quantiles"), drawQuantiles); onChange($("rate"), drawRate);
};
