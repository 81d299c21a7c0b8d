// The viewer: two pictures on each other, the right one cut off at the divider, both zoomed and moved alike.
{
  const STEPS = [1, 1.5, 2, 3, 4, 6, 8], ORIGINAL = -1;
  const stage = $("v-stage"), pane = $("v-pane"), divider = $("v-divider"), slider = $("v-slider");
  const sides = [0, 1].map((n) => ({ img: $(`v-img-${n}`), codec: $(`v-codec-${n}`), quality: $(`v-quality-${n}`), caption: $(n ? "v-right" : "v-left") }));
  const index = new Map(data.pictures.map((key, n) => [key.join("/"), n]));
  const rows = new Map(data.rows.map((row) => [row.slice(0, 3).join("/"), row]));
  let zoom = 1, x = 0, y = 0, holding = false;

  const image = () => +$("v-image").value;
  const name = (codec) => codec === ORIGINAL ? "original" : data.codecs[codec];
  const qualities = (codec) => data.pictures.filter((key) => key[0] === image() && key[1] === codec).map((key) => key[2]).sort((a, b) => a - b);
  const row = (codec, quality) => rows.get([image(), codec, quality].join("/"));
  const nearest = (codec, bytes) => qualities(codec).reduce((best, q) => {
    const away = (quality) => Math.abs(Math.log((row(codec, quality)?.[3] ?? 1) / bytes));
    return best === null || away(q) < away(best) ? q : best;
  }, null);

  const place = () => {
    const box = stage.getBoundingClientRect();
    x = Math.min(0, Math.max(box.width * (1 - zoom), x));
    y = Math.min(0, Math.max(box.height * (1 - zoom), y));
    for (const side of sides) side.img.style.transform = `translate(${x}px, ${y}px) scale(${zoom})`;
    stage.classList.toggle("zoomed", zoom > 1);
    // Pixels are shown as squares as soon as one of the picture is larger than two of the screen.
    stage.classList.toggle("sharp", box.width * zoom > 2 * (sides[0].img.naturalWidth || Infinity));
    $("v-zoom").textContent = zoom === 1 ? "fit" : `${zoom}×`;
    pane.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    divider.style.left = `${slider.value}%`;
  };
  const show = () => {
    for (const side of sides) {
      const codec = holding ? ORIGINAL : +side.codec.value, quality = codec === ORIGINAL ? 0 : +side.quality.value;
      const of = row(codec, quality);
      side.img.src = $(`p${index.get([image(), codec, quality].join("/"))}`).textContent;
      side.img.alt = `${data.images[image()]}, ${name(codec)}${codec === ORIGINAL ? "" : ` at quality ${quality}`}`;
      side.caption.textContent = codec === ORIGINAL ? "original" : `${name(codec)} q${quality}` + (of
        ? ` · ${(of[3] / 1000).toFixed(1)} kB · ${of[4].toFixed(3)} bpp · ${of[6] === null ? "exact" : `${of[6].toFixed(2)} dB`}`
          + (of[7] === null ? "" : ` · SSIM ${of[7].toFixed(4)}`) : "");
    }
  };
  const fill = (side, wanted) => {
    const codec = +side.codec.value, list = qualities(codec);
    side.quality.replaceChildren(...list.map((q) => new Option(codec === ORIGINAL ? "–" : q, q)));
    side.quality.disabled = codec === ORIGINAL;
    side.quality.value = list.includes(wanted) ? wanted : list[list.length >> 1];
  };
  const choose = () => {
    const there = [...new Set(data.pictures.filter((key) => key[0] === image()).map((key) => key[1]))].sort((a, b) => a - b);
    for (const side of sides) {
      const codec = side.codec.value, quality = +side.quality.value;
      side.codec.replaceChildren(...there.map((c) => new Option(name(c), c)));
      if (there.includes(+codec) && codec !== "") side.codec.value = codec;
      fill(side, quality);
    }
    show();
  };
  const match = () => {
    const [left, right] = sides, of = row(+right.codec.value, +right.quality.value);
    if (of && +left.codec.value !== ORIGINAL) left.quality.value = nearest(+left.codec.value, of[3]);
    show();
  };
  const zoomTo = (next, cx, cy) => {
    const box = stage.getBoundingClientRect();
    cx ??= box.width / 2; cy ??= box.height / 2;
    next = Math.min(STEPS.at(-1), Math.max(1, next));
    x = cx - (cx - x) * next / zoom;
    y = cy - (cy - y) * next / zoom;
    zoom = next;
    place();
  };
  const step = (by, cx, cy) => {
    const n = by > 0 ? STEPS.findIndex((s) => s > zoom) : STEPS.findLastIndex((s) => s < zoom);
    if (n >= 0) zoomTo(STEPS[n], cx, cy);
  };
  const hold = (on) => { if (holding !== on) { holding = on; show(); } };

  const images = [...new Set(data.pictures.map((key) => key[0]))];
  images.forEach((n) => $("v-image").add(new Option(data.images[n], n)));
  const first = data.pictures.find((key) => key[1] !== ORIGINAL && key[1] !== data.anchor);
  const there = (codec) => data.pictures.some((key) => key[1] === codec);
  choose();
  if (there(data.anchor)) sides[0].codec.value = data.anchor;
  if (first || there(data.anchor)) sides[1].codec.value = first ? first[1] : data.anchor;
  if (!first) sides[0].codec.value = ORIGINAL;
  sides.forEach((side) => fill(side));
  // At first the lower middle of the right one's qualities at which the left one has files of most nearly the same size.
  const [left, right] = sides.map((side) => +side.codec.value), all = qualities(right);
  const apart = (q) => {
    const bytes = row(right, q)?.[3] ?? 1, other = row(left, nearest(left, bytes));
    return other ? Math.abs(Math.log(other[3] / bytes)) : 0;
  };
  const some = all.slice(Math.min(1, all.length - 1), Math.max(2, Math.ceil(all.length * 0.6)));
  sides[1].quality.value = some.reduce((best, q) => apart(q) < apart(best) ? q : best);
  match();
  const size = () => {
    const { naturalWidth: width, naturalHeight: height } = sides[0].img;
    stage.style.aspectRatio = `${width} / ${height}`;
    stage.style.maxWidth = `calc(72vh * ${width / height})`;  // so that picture, slider and captions fit the window
    place();
  };
  sides[0].img.addEventListener("load", size);
  addEventListener("resize", place);

  $("v-image").addEventListener("change", choose);
  for (const side of sides) {
    side.codec.addEventListener("change", () => { fill(side); show(); });
    side.quality.addEventListener("change", show);
  }
  $("v-match").addEventListener("click", match);
  slider.addEventListener("input", place);
  $("v-in").addEventListener("click", () => step(1));
  $("v-out").addEventListener("click", () => step(-1));
  $("v-fit").addEventListener("click", () => zoomTo(1));
  const button = $("v-hold");
  for (const [name, on] of [["pointerdown", true], ["pointerup", false], ["pointerleave", false], ["pointercancel", false], ["blur", false]]) button.addEventListener(name, () => hold(on));
  button.addEventListener("keydown", (event) => { if (event.key === " " || event.key === "Enter") { event.preventDefault(); hold(true); } });
  button.addEventListener("keyup", () => hold(false));

  const at = (event) => { const box = stage.getBoundingClientRect(); return [event.clientX - box.x, event.clientY - box.y, box]; };
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const [px, py, box] = at(event);
    const onDivider = Math.abs(px - box.width * slider.value / 100) < 24;
    drag = zoom > 1 && !onDivider ? [px - x, py - y] : "divider";
    if (drag === "divider") { slider.value = 100 * px / box.width; place(); }
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [px, py, box] = at(event);
    if (drag === "divider") slider.value = 100 * px / box.width;
    else [x, y] = [px - drag[0], py - drag[1]];
    place();
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { drag = null; });
  stage.addEventListener("dblclick", (event) => { const [px, py] = at(event); zoomTo(zoom > 1 ? 1 : 4, px, py); });
  // The wheel zooms only once the picture has the focus, so that nobody is stopped on the way down the page.
  stage.addEventListener("wheel", (event) => {
    if (document.activeElement !== stage) return;
    event.preventDefault();
    const [px, py] = at(event);
    step(-event.deltaY, px, py);
  }, { passive: false });
  stage.addEventListener("keydown", (event) => {
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrows && event.shiftKey) { x -= 40 * arrows[0]; y -= 40 * arrows[1]; place(); }
    else if (arrows && arrows[0]) { slider.value = +slider.value + 2 * arrows[0]; place(); }
    else if (event.key === "+" || event.key === "=") step(1);
    else if (event.key === "-") step(-1);
    else if (event.key === "0") zoomTo(1);
    else if (event.key.toLowerCase() === "o") hold(true);
    else return;
    event.preventDefault();
  });
  stage.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "o") hold(false); });
  stage.addEventListener("blur", () => hold(false));
}
