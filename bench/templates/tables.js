// Every image: made here from the data, a part at a time, since there are thousands of rows.
{
  const PART = 100, body = $("t-table").tBodies[0];
  let column = 0, down = false, all = false;
  const fixed = [null, null, 0, 0, 3, 2, 2, 4, 4];
  const value = (row, c) => c === 0 ? data.images[row[0]] : c === 1 ? data.codecs[row[1]] : c === 6 && row[6] === null ? Infinity : row[c];
  const text = (row, c) => {
    const v = value(row, c);
    return typeof v === "string" ? v : v === null ? "–" : v === Infinity ? "exact" : v.toFixed(fixed[c]);
  };
  const draw = () => {
    const codec = $("t-codec").value, quality = $("t-quality").value, name = $("t-image").value.toLowerCase();
    const rows = data.rows.filter((row) => (codec === "" || row[1] === +codec) && (quality === "" || row[2] === +quality)
      && data.images[row[0]].toLowerCase().includes(name));
    rows.sort((a, b) => order(value(a, column), value(b, column), down));
    body.replaceChildren(...(all ? rows : rows.slice(0, PART)).map((row) => {
      const line = document.createElement("tr");
      for (let c = 0; c < fixed.length; c++) {
        const cell = document.createElement("td");
        cell.textContent = text(row, c);
        if (c > 1) cell.className = "n";
        line.append(cell);
      }
      return line;
    }));
    $("t-count").textContent = `${rows.length} row${rows.length === 1 ? "" : "s"}`;
    $("t-more").hidden = all || rows.length <= PART;
    $("t-more").textContent = `Show all ${rows.length} rows`;
  };
  data.codecs.forEach((name, n) => $("t-codec").add(new Option(name, n)));
  for (const q of [...new Set(data.rows.map((row) => row[2]))].sort((a, b) => a - b)) $("t-quality").add(new Option(q, q));
  for (const id of ["t-codec", "t-quality", "t-image"]) $(id).addEventListener("input", draw);
  $("t-more").addEventListener("click", () => { all = true; draw(); });
  $("t-table").tHead.addEventListener("click", (event) => {
    const button = event.target.closest(".sort");
    if (!button) return;
    down = mark(button);
    column = +button.dataset.column;
    draw();
  });
  draw();
}
