// Everything around the drawings: theme, copying, moving between findings, lighting steps of a cycle.
const stored = (() => { try { return localStorage.getItem("splitbrain-theme"); } catch { return null; } })();
if (stored === "dark" || stored === "light") root.dataset.theme = stored;
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const themeButton = $("theme");
themeButton.hidden = false;
themeButton.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("splitbrain-theme", root.dataset.theme); } catch { /* a file may have no storage */ }
  resetColours(); changed();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { resetColours(); changed(); });

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = $(button.dataset.copy);
    try { await navigator.clipboard.writeText(source.textContent); button.textContent = "copied"; }
    catch { getSelection().selectAllChildren(source); button.textContent = "selected"; }
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
}

const cards = [...document.querySelectorAll("article.card[id^=f]")];
const goFinding = (step) => {
  if (!cards.length) return;
  const here = cards.findIndex((card) => card.id === location.hash.slice(1));
  const next = cards[Math.min(cards.length - 1, Math.max(0, here < 0 ? 0 : here + step))];
  location.hash = next.id;
  next.focus({ preventScroll: true });
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  if (event.key === "j") goFinding(1);
  else if (event.key === "k") goFinding(-1);
  else if (event.key === "/" && $("query")) { event.preventDefault(); $("query").focus(); }
});

for (const list of document.querySelectorAll("ol.steps[data-card]")) {
  const arcs = [...$(list.dataset.card).querySelectorAll("svg .arc")];
  const light = (item) => {
    for (const other of list.children) other.classList.toggle("lit", other === item);
    for (const arc of arcs) arc.classList.toggle("dim", Boolean(item) && arc.dataset.step !== item.dataset.step);
  };
  for (const item of list.children) {
    for (const kind of ["mouseenter", "focusin"]) item.addEventListener(kind, () => light(item));
    for (const kind of ["mouseleave", "focusout"]) item.addEventListener(kind, () => light(null));
  }
}
addEventListener("beforeprint", () => { for (const part of document.querySelectorAll("details")) part.open = true; });
