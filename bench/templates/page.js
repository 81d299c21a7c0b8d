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
