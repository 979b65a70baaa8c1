// What all canvases share: colours from the style sheet, a time axis, fault bands with their hatches.
let colours = {};
const hatches = new Map();
const resetColours = () => { colours = {}; hatches.clear(); };
const colour = (name) => (colours[name] ??= getComputedStyle(root).getPropertyValue(`--${name}`).trim());
const LEFT = 84, RIGHT = 12;

const prepare = (canvas, height) => {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = `11px ${colour("sans")}`;
  pen.textBaseline = "middle";
  return { pen, width, height, x: (t) => LEFT + (t - view.t0) / (view.t1 - view.t0) * (width - LEFT - RIGHT) };
};
const timeAt = (canvas, x) => view.t0 + (x - LEFT) / (canvas.clientWidth - LEFT - RIGHT) * (view.t1 - view.t0);

const STROKES = [
  "M-2 2L2 -2M0 8L8 0M6 10L10 6", "M-2 6L2 10M0 0L8 8M6 -2L10 2", "M2 2h.8M6 6h.8", "M0 0L8 8M8 0L0 8",
  "M4 0V8", "M0 4H8", "M0 6L4 2L8 6", "M4 0V8M0 4H8"];
const hatch = (pen, slot) => {
  if (!hatches.has(slot)) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const brush = tile.getContext("2d");
    brush.strokeStyle = colour(`f${slot}`);
    brush.globalAlpha = 0.4;
    brush.lineWidth = 1.1;
    brush.stroke(new Path2D(STROKES[slot]));
    hatches.set(slot, pen.createPattern(tile, "repeat"));
  }
  return hatches.get(slot);
};
const bands = ({ pen, x, width }, top, height) => {
  pen.save();
  pen.beginPath(); pen.rect(LEFT, top, width - LEFT - RIGHT, height); pen.clip();
  for (const fault of meta.faults) {
    const end = fault.end ?? meta.end;
    if (fault.outcome === "skipped" || fault.begin > view.t1 || end < view.t0) continue;
    const x0 = x(fault.begin), w = Math.max(x(end) - x0, 1.5);
    pen.globalAlpha = 0.07; pen.fillStyle = colour(`f${fault.slot}`); pen.fillRect(x0, top, w, height);
    pen.globalAlpha = 0.5; pen.fillStyle = hatch(pen, fault.slot); pen.fillRect(x0, top, w, height);
    pen.globalAlpha = 0.6; pen.fillStyle = colour(`f${fault.slot}`); pen.fillRect(x0, top, 1, height);
  }
  pen.restore();
};
// Many small marks at once: pixels written by hand, then laid over what is drawn.
const numbers = new Map();
const packed = (style) => {
  if (!numbers.has(style)) {
    const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    scratch.fillStyle = style; scratch.fillRect(0, 0, 1, 1);
    numbers.set(style, new Uint32Array(scratch.getImageData(0, 0, 1, 1).data.buffer)[0]);
  }
  return numbers.get(style);
};
class Raster {
  constructor(width, height) {
    this.width = Math.max(1, Math.ceil(width)); this.height = Math.max(1, Math.ceil(height));
    this.image = new ImageData(this.width, this.height);
    this.words = new Uint32Array(this.image.data.buffer);
  }
  column(x, y, tall, style) {
    const value = packed(style), last = Math.min(this.height, Math.round(y + tall));
    for (let row = Math.max(0, Math.round(y)); row < last; row++) this.words[row * this.width + x] = value;
  }
  dot(x, y, value) {
    const left = Math.round(x) - 1, top = Math.round(y) - 1;
    if (left < LEFT || top < 0 || left + 1 >= this.width - RIGHT || top + 1 >= this.height) return;
    const at = top * this.width + left;
    this.words[at] = this.words[at + 1] = this.words[at + this.width] = this.words[at + this.width + 1] = value;
  }
  paint(pen, top, alpha = 1) {
    const sheet = document.createElement("canvas");
    sheet.width = this.width; sheet.height = this.height;
    sheet.getContext("2d").putImageData(this.image, 0, 0);
    pen.save(); pen.globalAlpha = alpha; pen.imageSmoothingEnabled = false; pen.drawImage(sheet, 0, top); pen.restore();
  }
}
const niceStep = (span, parts) => {
  const rough = span / parts, power = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough);
};
const axis = ({ pen, x, width }, y) => {
  const step = niceStep(view.t1 - view.t0, Math.max(2, (width - LEFT) / 110));
  pen.fillStyle = colour("soft"); pen.strokeStyle = colour("line"); pen.lineWidth = 1; pen.textAlign = "center";
  for (let t = Math.ceil(Math.max(0, view.t0) / step) * step; t <= view.t1; t += step) {
    const at = Math.round(x(t)) + 0.5;
    pen.beginPath(); pen.moveTo(at, y); pen.lineTo(at, y + 4); pen.stroke();
    pen.fillText(meta.realTimes ? `${seconds(t, step * 10)} s` : `event ${Math.round(t)}`, at, y + 12);
  }
  pen.beginPath(); pen.moveTo(LEFT, y + 0.5); pen.lineTo(width - RIGHT, y + 0.5); pen.stroke();
};
const ticks = ({ pen, x }, top, bottom) => {
  pen.fillStyle = colour("bad");
  for (const finding of meta.findings) {
    const at = x(finding.at);
    if (at < LEFT || finding.at > view.t1) continue;
    pen.globalAlpha = 0.55; pen.fillRect(at - 0.75, top, 1.5, bottom - top); pen.globalAlpha = 1;
    pen.beginPath(); pen.moveTo(at - 5, top - 1); pen.lineTo(at + 5, top - 1); pen.lineTo(at, top + 7); pen.fill();
  }
};

// Wheel, drag and keys move the shared time axis.
const movable = (canvas, onClick) => {
  let grabbed = null;
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey && document.activeElement !== canvas && !event.deltaX) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) move((event.deltaX || event.deltaY) / canvas.clientWidth);
    else zoom(Math.exp(event.deltaY * 0.002), timeAt(canvas, event.offsetX));
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    grabbed = { x: event.offsetX, y: event.offsetY, t0: view.t0, t1: view.t1, scroll: view.scroll, far: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!grabbed) return;
    const dx = event.offsetX - grabbed.x, dy = event.offsetY - grabbed.y;
    if (Math.abs(dx) + Math.abs(dy) > 4) grabbed.far = true;
    if (!grabbed.far) return;
    const shift = dx / (canvas.clientWidth - LEFT - RIGHT) * (grabbed.t1 - grabbed.t0);
    view.scroll = grabbed.scroll - dy;
    clampView(grabbed.t0 - shift, grabbed.t1 - shift);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (grabbed && !grabbed.far && onClick) onClick(event);
    grabbed = null;
  });
};
const zoom = (factor, about = (view.t0 + view.t1) / 2) => clampView(about - (about - view.t0) * factor, about + (view.t1 - about) * factor);
const move = (share) => { const by = (view.t1 - view.t0) * share; clampView(view.t0 + by, view.t1 + by); };
