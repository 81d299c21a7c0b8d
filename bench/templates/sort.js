// Tables sorted by a click on a heading: first ascending, then descending; what is unknown stays at the end.
const order = (a, b, down) => {
  const lack = (v) => v === null || v === "" || Number.isNaN(v);
  if (lack(a) || lack(b)) return lack(a) - lack(b);
  const by = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return down ? -by : by;
};
const mark = (button) => {
  const head = button.closest("th"), down = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  return down;
};
for (const table of document.querySelectorAll("table.sortable")) {
  table.tHead.addEventListener("click", (event) => {
    const button = event.target.closest(".sort");
    if (!button) return;
    const down = mark(button), column = button.closest("th").cellIndex, body = table.tBodies[0];
    const value = (row) => {
      const cell = row.cells[column], text = cell.dataset.v ?? cell.textContent.trim();
      return button.dataset.kind === "text" ? text : text === "exact" ? Infinity : parseFloat(text.replaceAll(",", ""));
    };
    const rows = [...body.rows].map((row) => [value(row), row]);
    body.append(...rows.sort((a, b) => order(a[0], b[0], down)).map((pair) => pair[1]));
  });
}
