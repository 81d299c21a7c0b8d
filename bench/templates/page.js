"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

// The legends: a codec switched off leaves all charts, and both legends say so.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-series]");
  if (!button) return;
  const off = button.getAttribute("aria-pressed") === "true";
  const n = button.dataset.series;
  for (const twin of document.querySelectorAll(`[data-series="${n}"]`)) twin.setAttribute("aria-pressed", String(!off));
  for (const part of document.querySelectorAll(`.series-${n}`)) part.classList.toggle("off", off);
});

// The histograms' rate.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-level]");
  if (!button) return;
  for (const other of document.querySelectorAll("[data-level]")) other.setAttribute("aria-pressed", String(other === button));
  for (const charts of document.querySelectorAll("[data-shown-at]")) charts.hidden = charts.dataset.shownAt !== button.dataset.level;
});

// What the chart's point next to the pointer says: points are small, so the nearest within 24 px answers.
const tip = $("tip");
const showTip = (event) => {
  const chart = event.target.closest && event.target.closest("svg.chart");
  let best = null, nearest = 24;
  for (const point of chart ? chart.querySelectorAll(".series:not(.off) use") : []) {
    const words = point.querySelector("title");
    if (!words) continue;
    const box = point.getBoundingClientRect();
    const distance = Math.hypot(event.clientX - box.x - box.width / 2, event.clientY - box.y - box.height / 2);
    if (distance < nearest) [best, nearest] = [words, distance];
  }
  tip.hidden = !best;
  if (!best) return;
  tip.textContent = best.textContent;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 12)}px`;
};
document.addEventListener("pointermove", showTip);
document.addEventListener("pointerdown", showTip);
document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
