// Search, and the table of operations in pages.
const PAGE = 100;
let rows = null, place = 0;
const term = (word) => {
  const [, name, rest] = /^([a-z]+):(.*)$/.exec(word) || [null, null, word];
  const want = rest.toLowerCase(), near = (text) => text.toLowerCase().includes(want);
  const same = (text) => text.toLowerCase() === want;
  const tests = {
    f: (i) => same(ops.functions[ops.f[i]]), key: (i) => same(keyOf(i)), k: (i) => same(keyOf(i)),
    process: (i) => same(processOf(i)), p: (i) => same(processOf(i)), node: (i) => same(nodeOf(i)),
    value: (i) => same(asked(i)) || same(answered(i)), v: (i) => same(asked(i)) || same(answered(i)),
    error: (i) => near(errorOf(i)), index: (i) => String(ops.index[i]) === want,
    type: (i) => NAMES[ops.outcome[i]] === want, is: (i) => NAMES[ops.outcome[i]] === want,
    t: (i) => { const [from, to] = want.split("..").map(Number); return ops.end[i] / 1e6 >= from && ops.t[i] / 1e6 <= (to ?? from); },
  };
  if (name && tests[name]) return tests[name];
  if (NAMES.includes(want) && want) return (i) => NAMES[ops.outcome[i]] === want;
  if (want === "finding") return (i) => ops.found[i] === 1;
  const all = word.toLowerCase();
  return (i) => `${words(i)} ${errorOf(i)}`.toLowerCase().includes(all);
};
const search = (text) => {
  const tests = text.trim().split(/\s+/).filter(Boolean).map(term);
  if (!tests.length) { view.mask = null; rows = null; $("matches").textContent = ""; }
  else {
    view.mask = new Uint8Array(ops.count); rows = [];
    for (let i = 0; i < ops.count; i++) if (tests.every((test) => test(i))) { view.mask[i] = 1; rows.push(i); }
    $("matches").textContent = `${rows.length.toLocaleString("en")} of ${ops.count.toLocaleString("en")} match`;
  }
  place = 0;
  drawTable(); changed();
};
const drawTable = () => {
  const total = rows ? rows.length : ops.count, body = $("table-rows");
  place = Math.max(0, Math.min(place, Math.floor(Math.max(0, total - 1) / PAGE) * PAGE));
  const last = Math.min(total, place + PAGE);
  body.replaceChildren();
  for (let n = place; n < last; n++) {
    const i = rows ? rows[n] : n, row = make("tr");
    if (ops.found[i]) row.classList.add("found");
    for (const text of [ops.index[i], seconds(ops.t[i], 0), ops.open[i] ? "–" : took(ops.end[i] - ops.t[i]), processOf(i), nodeOf(i), ops.functions[ops.f[i]], keyOf(i), asked(i), answered(i)]) row.append(make("td", String(text)));
    const outcome = make("td"); outcome.append(make("span", NAMES[ops.outcome[i]], `outcome ${NAMES[ops.outcome[i]]}`));
    row.append(outcome, make("td", errorOf(i)));
    row.tabIndex = 0;
    const go = () => { choose(i); show(ops.t[i], ops.end[i]); $("timeline").scrollIntoView(); };
    row.addEventListener("click", go);
    row.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
    body.append(row);
  }
  $("table-place").textContent = total ? `${(place + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${total.toLocaleString("en")}` : "none";
  $("table-back").disabled = place === 0; $("table-on").disabled = last >= total;
};
const startTable = () => {
  $("table").hidden = false;
  $("table-back").addEventListener("click", () => { place -= PAGE; drawTable(); });
  $("table-on").addEventListener("click", () => { place += PAGE; drawTable(); });
  let timer = 0;
  $("query").addEventListener("input", (event) => { clearTimeout(timer); timer = setTimeout(() => search(event.target.value), 120); });
  $("search").addEventListener("submit", (event) => { event.preventDefault(); search($("query").value); });
  drawTable();
};
