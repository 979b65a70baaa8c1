const start = async () => {
  if (!meta.count || !$("timeline-canvas")) { root.dataset.ready = "empty"; return; }
  if (typeof DecompressionStream === "undefined") {
    $("timeline").append(make("p", "This browser cannot inflate the operations (it lacks DecompressionStream); everything above and the tables are complete.", "note"));
    root.dataset.ready = "old";
    return;
  }
  await load();
  startTimeline(); startCharts(); startTable();
  new ResizeObserver(changed).observe($("timeline-box"));
  clampView(0, meta.end);
  const wanted = meta.findings.find((finding) => finding.anchor === location.hash.slice(1));
  if (wanted) show(wanted.begin, wanted.end);
  requestAnimationFrame(() => requestAnimationFrame(() => { root.dataset.ready = "yes"; }));
};
start();
