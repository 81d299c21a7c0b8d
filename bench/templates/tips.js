// What the chart's point next to the pointer says: points are small, so the nearest within 24 px answers.
const tip = document.getElementById("tip");
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
