"use strict";
// The report in a browser: all images with their maps, files for a paper, and the choice of colours. Plain JavaScript:
// every text goes into the page as text, and nothing is fetched.

const $ = (id) => document.getElementById(id);

// An element: make("span.letters", "text") or make("td.num", { title: "..." }, child, ...).
function make(kind, given = {}, ...children) {
  const [tag, className = ""] = kind.split(".");
  const properties = typeof given === "string" ? { textContent: given } : given;
  const element = Object.assign(document.createElement(tag), className && { className }, properties);
  element.append(...children);
  return element;
}

// A name that may be broken after _ / and dots, as `pieces` of render.py does.
const broken = (name) => name.split(/(?<=[_/.])(?=.)/).flatMap((piece, place) => place ? [make("wbr"), piece] : [piece]);

function button(text, press, properties = {}) {
  const made = make("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", press);
  return made;
}

function loaded(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a picture of this page is broken"));
    image.src = source;
  });
}

// Files and the clipboard

const stem = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "chart";

function save(name, content, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const saveCanvas = (name, canvas) => canvas.toBlob((blob) => save(name, blob, "image/png"), "image/png");

async function copy(text, pressed) {
  const before = pressed.textContent;
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "copied";
  } catch {
    save(`${stem(before)}.txt`, text, "text/plain");
    pressed.textContent = "saved as a file";
  }
  setTimeout(() => { pressed.textContent = before; }, 2000);
}

// Charts, as they are in print: with title and legend, which the page leaves out

function printed(svg) {
  const whole = svg.cloneNode(true), [, , width, height] = svg.dataset.whole.split(" ");
  const size = { viewBox: svg.dataset.whole, width, height };
  for (const [name, value] of Object.entries(size)) whole.setAttribute(name, value);
  return { text: new XMLSerializer().serializeToString(whole), width: Number(width), height: Number(height) };
}

const saveSvg = (svg) => save(`${stem(svg.ariaLabel)}.svg`, printed(svg).text, "image/svg+xml");

async function savePng(svg) {
  const { text, width, height } = printed(svg), scale = 4;
  const image = await loaded(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`);
  const canvas = make("canvas", { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  saveCanvas(`${stem(svg.ariaLabel)}.png`, canvas);
}

function fileButtons(svg) {
  const press = (what, work) => button(what, () => work(svg), { ariaLabel: `${svg.ariaLabel} as ${what}` });
  return make("span.buttons", {}, press("SVG", saveSvg), press("PNG", savePng));
}

// Tables

// Rows of texts; a cell that spans rows stands in each of them.
function cellsOf(table) {
  const rows = [...table.rows].map(() => []);
  [...table.rows].forEach((row, index) => {
    let column = 0;
    for (const cell of row.cells) {
      while (rows[index][column] !== undefined) column += 1;
      const text = cell.textContent.trim().replace(/\s+/g, " "), best = cell.querySelector("b") !== null;
      for (let down = 0; down < cell.rowSpan; down += 1) rows[index + down][column] = { text, best };
    }
  });
  return rows;
}

function csv(rows) {
  const cell = ({ text }) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function markdown([head, ...body]) {
  const safe = (text) => text.replace(/[\\`*_[\]<>|]/g, "\\$&");
  const cell = ({ text, best }) => (best ? `**${safe(text)}**` : safe(text));
  const rows = [head.map(cell), head.map(() => "---"), ...body.map((row) => row.map(cell))];
  return rows.map((row) => `| ${row.join(" | ")} |\n`).join("");
}

function latex([head, ...body]) {
  const names = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const safe = (text) => text.replace(/[\\~^&%$#_{}]/g, (letter) => names[letter] ?? `\\${letter}`);
  const cell = ({ text, best }) => (best ? `\\textbf{${safe(text)}}` : safe(text));
  const line = (row) => `  ${row.map(cell).join(" & ")} \\\\\n`;
  const isNumber = (column) => body.every((row) => /^[-+\d.,]*$/.test(row[column].text));
  const columns = head.map((_, column) => (isNumber(column) ? "r" : "l")).join("");
  const lines = `  \\toprule\n${line(head)}  \\midrule\n${body.map(line).join("")}  \\bottomrule\n`;
  return `\\begin{tabular}{${columns}}\n${lines}\\end{tabular}\n`;
}

function copyButtons(table, name) {
  const press = ([what, write]) => button(
    what, (event) => copy(write(cellsOf(table)), event.currentTarget), { ariaLabel: `Copy ${name} as ${what}` });
  return make("p.buttons", "Copy as", ...Object.entries({ Markdown: markdown, CSV: csv, LaTeX: latex }).map(press));
}

function addButtons() {
  for (const chart of document.querySelectorAll("figure.chart")) {
    chart.querySelector("figcaption").append(fileButtons(chart.querySelector("svg")));
  }
  for (const region of document.querySelectorAll(".scroll:has(> table)")) {
    const buttons = copyButtons(region.querySelector("table"), region.ariaLabel), kept = region.nextElementSibling;
    if (kept?.matches("template[data-file]")) {
      buttons.append(" Save as ", fileButtons(kept.content.querySelector("svg")));
    }
    region.after(buttons);
  }
}

function offerColours() {
  $("theme").parentElement.hidden = false;
  $("theme").addEventListener("change", () => { document.documentElement.dataset.theme = $("theme").value; });
}

// What is shown of the images. `sources` are the maps on disk, the truth first; `runs` those of them that are scored.

const data = $("explored") ? JSON.parse($("explored").textContent) : null;
const runs = data?.sources.filter((source) => source.run !== null);
const state = { found: [], current: null, map: 0, labels: new Map(), options: new Map() };

const chosen = (id) => Number($(id).value);
const placeOf = (run) => data.sources.indexOf(runs[run]);
const number = (value) => (value ?? null) === null ? "-" : value.toFixed(1);
const className = (label) => data.classes[label] ?? `class ${label} (unknown)`;

// Colours, as the four bytes of a pixel; those of errors and changes can be told apart by the colour blind

const rgb = (red, green, blue) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
const css = (colour) => `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
const IGNORE = 255, CLEAR = 0, WHITE = rgb(255, 255, 255), HATCH = [rgb(200, 200, 200), rgb(150, 150, 150)];
const MISSED = rgb(0, 114, 178), EXTRA = rgb(213, 94, 0), CONFUSED = rgb(204, 121, 167);
const MENDED = rgb(0, 158, 115), BROKEN = rgb(213, 94, 0), OTHER = rgb(240, 228, 66);
const MEANINGS = { // of the colours of errors and changes, by the key of the map
  e: [["missed: background instead of a class", MISSED], ["a class instead of background", EXTRA],
    ["another class", CONFUSED]],
  c: [["mended", MENDED], ["broken", BROKEN], ["wrong in another way", OTHER]],
};

const palette = data?.palette.map((parts) => (parts.some((part) => part > 0) ? rgb(...parts) : CLEAR));
const borders = data?.palette.map((parts, label) => palette[label] && rgb(...parts.map((part) => 90 + 0.65 * part)));
const isBackground = (label) => palette[label] === CLEAR;

function errorColour(truth, seen) {
  if (truth === seen) return CLEAR;
  return isBackground(seen) ? MISSED : isBackground(truth) ? EXTRA : CONFUSED;
}

function changeColour(truth, now, before) {
  if (now === before) return CLEAR;
  return now === truth ? MENDED : before === truth ? BROKEN : OTHER;
}

// Maps that can be chosen, by their key: `needs` are the sources that one is drawn from

function mapsToChoose() {
  const found = [{ key: "p", name: "photograph" }];
  data.sources.forEach((source, place) => {
    const run = runs.indexOf(source), key = run >= 0 ? String(run + 1) : place ? "w" : "t";
    found.push({ key, run, name: source.name, saw: source.saw, needs: () => [place] });
  });
  const [now, before] = ["run-shown", "against"].map((id) => () => placeOf(chosen(id)));
  found.push({ key: "e", name: "errors", needs: () => [0, now()], colour: errorColour });
  const change = { key: "c", name: "change", needs: () => [0, now(), before()], colour: changeColour };
  return runs.length > 1 ? [...found, change] : found;
}

const maps = data ? mapsToChoose() : [];
const has = (image, map) => !map.needs || map.needs().every((place) => image.shown.includes(place));

// The values of a palette PNG without filters, exactly; a canvas may change them a little.
async function unpacked(address) {
  const bytes = Uint8Array.from(atob(address.slice(address.indexOf(",") + 1)), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer), parts = [];
  const width = view.getUint32(16), height = view.getUint32(20), bits = bytes[24];
  for (let at = 8; at < bytes.length; at += view.getUint32(at) + 12) {
    if (view.getUint32(at + 4) === 0x49444154) parts.push(bytes.subarray(at + 8, at + 8 + view.getUint32(at)));
  }
  const stream = new Blob(parts).stream().pipeThrough(new DecompressionStream("deflate"));
  const rows = new Uint8Array(await new Response(stream).arrayBuffer());
  const stride = Math.ceil((width * bits) / 8) + 1, values = new Uint8Array(width * height);
  for (let y = 0, place = 0; y < height; y += 1) {
    for (let bit = 0; bit < width * bits; bit += bits, place += 1) {
      values[place] = (rows[y * stride + 1 + (bit >> 3)] >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
    }
  }
  return { width, height, values };
}

async function unstacked(image) {
  const { width, height: all, values } = await unpacked(image.maps), height = all / image.shown.length;
  const labels = values.map((value) => image.labels[value]);
  const layer = (order) => labels.subarray(order * width * height, (order + 1) * width * height);
  return { width, height, of: Object.fromEntries(image.shown.map((place, order) => [place, layer(order)])) };
}

// The labels of an image by source; those of the last 80 images are kept.
function labelsOf(image) {
  const kept = state.labels.get(image) ?? unstacked(image);
  state.labels.delete(image);
  state.labels.set(image, kept);
  if (state.labels.size > 80) state.labels.delete(state.labels.keys().next().value);
  return kept;
}

// Draws a map as large as it is stored; what is IGNORE in the first of its layers is hatched.
async function paint(canvas, image, map) {
  const { width, height, of } = await labelsOf(image);
  Object.assign(canvas, { width, height });
  if (!map.needs || !has(image, map)) return;
  const [first, second, third] = map.needs().map((place) => of[place]);
  const drawn = new ImageData(width, height), pixels = new Uint32Array(drawn.data.buffer);
  for (let place = 0, y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, place += 1) {
      const label = first[place];
      const isBorder = (x && first[place - 1] !== label) || (y && first[place - width] !== label);
      if (label === IGNORE) pixels[place] = HATCH[((x + y) >> 2) & 1];
      else if (map.colour) pixels[place] = map.colour(label, second[place], third?.[place]);
      else pixels[place] = (isBorder ? borders : palette)[label] ?? WHITE;
    }
  }
  canvas.getContext("2d").putImageData(drawn, 0, 0);
}

// A photograph with a map over it; the style sheet gives the map its opacity.
function fillShot(shot, image, map) {
  const canvas = make("canvas");
  shot.classList.toggle("crisp", Math.max(...image.size) <= 160);
  shot.classList.toggle("toned", map.needs !== undefined);
  shot.style.setProperty("--ratio", image.size[0] / image.size[1]);
  shot.replaceChildren(make("img", { src: image.photo, alt: "" }), canvas);
  paint(canvas, image, map);
}

// Filters and orders

const label = () => ($("class").value === "" ? null : chosen("class"));
const iousOf = (image) => image.ious.find(([each]) => each === label())?.slice(1) ?? runs.map(() => null);
const scores = (image) => (label() === null ? image.miou : iousOf(image));
const score = (image) => scores(image)[chosen("run-shown")];

function gain(image) {
  const before = runs.length > 1 ? scores(image)[chosen("against")] : null;
  return score(image) === null || before === null ? null : score(image) - before;
}

const WHERE = {
  "in the truth": (image) => image.truth.includes(label()),
  "in the truth, not found": (image) => image.truth.includes(label()) && score(image) === 0,
  "predicted, not in the truth": (image) => !image.truth.includes(label()) && score(image) === 0,
  "in either": (image) => image.truth.includes(label()) || score(image) !== null,
};
const ORDER = { "worst first": score, "best first": (image) => -(score(image) ?? NaN) };
const ORDER_OF_SEVERAL = {
  "gained most": (image) => -(gain(image) ?? NaN), "lost most": gain,
  "most changed": (image) => -Math.abs(gain(image) ?? NaN),
};
const orders = { ...ORDER, ...(runs?.length > 1 && ORDER_OF_SEVERAL), "by id": () => 0 };

// The list anew. The image that is looked at stays where it can, unless the list is to be read from its beginning.
function filter(fromFirst) {
  const wanted = $("query").value.trim().toLowerCase();
  $("where").disabled = label() === null;
  const isOfClass = (image) => label() === null || WHERE[$("where").value](image);
  const fits = (image) => image.id.toLowerCase().includes(wanted) && isOfClass(image);
  const rank = (image) => orders[$("order").value](image) ?? NaN;
  const ranked = data.images.filter(fits).map((image) => [image, Number.isNaN(rank(image)) ? Infinity : rank(image)]);
  state.found = ranked.sort(([, one], [, other]) => (one === other ? 0 : one - other)).map(([image]) => image);
  const [some, all] = [state.found, data.images].map((images) => images.length.toLocaleString("en"));
  $("tally").textContent = `${some} of ${all} images`;
  const isKept = !fromFirst && state.found.includes(state.current);
  if (!isKept) state.current = state.found[0] ?? state.current ?? data.images[0];
  list();
  show();
}

// The list: what is in sight is drawn, the rest is a frame

const imageOf = (option) => data.images[Number(option.dataset.place)];
const sight = data && new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const shot = target.querySelector(".shot");
    if (isIntersecting) fillShot(shot, imageOf(target), maps[state.map]);
    else shot.replaceChildren();
  }
}, { root: $("list"), rootMargin: "200px" });

function optionOf(image) {
  const said = make("span.said", number(score(image))), change = gain(image);
  const [kind, sign] = change > 0 ? ["span.up", "+"] : ["span.down", "\u2212"];
  if (Math.abs(change) >= 0.05) said.append(make(kind, `${sign}${number(Math.abs(change))}`));
  const option = make("div.option", { id: `image-${image.place}`, role: "option", ariaSelected: "false" },
    make("span.shot"), make("span.id", image.id), said);
  option.dataset.place = image.place;
  option.addEventListener("click", () => { state.current = image; show(); });
  return option;
}

function list() {
  sight.disconnect();
  state.options = new Map(state.found.map((image) => [image, optionOf(image)]));
  const nothing = state.found.length ? [] : [make("p.note", "No image fits; another class or id may.")];
  $("list").replaceChildren(...state.options.values(), ...nothing);
  for (const option of state.options.values()) sight.observe(option);
}

// The image that is looked at

function show() {
  const image = state.current, map = maps[state.map];
  select(state.options.get(image));
  $("shown-id").textContent = image.id;
  $("large").ariaLabel = `${image.id}, ${map.name}`;
  fillShot($("large"), image, map);
  describe(image, map);
  $("strip").replaceChildren(...maps.map((each, index) => smallShot(image, each, index)));
  $("shown-scores").replaceChildren(scoreTable(image));
}

function select(option) {
  for (const other of $("list").querySelectorAll("[aria-selected=true]")) other.ariaSelected = "false";
  $("list").removeAttribute("aria-activedescendant");
  if (!option) return;
  option.ariaSelected = "true";
  $("list").setAttribute("aria-activedescendant", option.id);
  const box = option.getBoundingClientRect(), frame = $("list").getBoundingClientRect();
  const isOutside = box.top < frame.top || box.bottom > frame.bottom || box.left < frame.left || box.right > frame.right;
  if (!isOutside) return;
  $("list").scrollTop += box.top - frame.top - (frame.height - box.height) / 2;
  $("list").scrollLeft += box.left - frame.left - (frame.width - box.width) / 2;
}

function patch(colour) {
  const made = make("span.patch");
  made.style.background = css(colour);
  return made;
}

// What the colours of the shown map mean.
function describe(image, map) {
  const now = runs[chosen("run-shown")].name, before = runs[chosen("against")].name;
  const heads = { p: "The photograph alone.", e: `Errors of ${now}:`, c: `${now} against ${before}:` };
  const classes = image.ious.map(([each]) => each).filter((each) => !isBackground(each));
  const colours = MEANINGS[map.key] ?? classes.map((each) => [className(each), palette[each] ?? WHITE]);
  const entries = map.needs ? colours.map(([text, colour]) => make("span.meaning", {}, patch(colour), text)) : [];
  const missing = has(image, map) ? "" : " there is no such map of this image";
  $("shown-map").replaceChildren(heads[map.key] ?? `${map.name}:`, missing, " ", ...entries);
}

function smallShot(image, map, index) {
  const shot = make("span.shot"), isShown = String(index === state.map);
  if (has(image, map)) fillShot(shot, image, map);
  else shot.append(make("span.hole", "none"));
  const press = button("", () => choose(index), { ariaLabel: `Show ${map.name}`, ariaPressed: isShown });
  press.className = "pick";
  press.append(shot);
  const result = map.run >= 0 ? [make("b", number(image.miou[map.run]))] : [];
  const saw = map.saw ? [make("span.letters", `saw ${map.saw}`)] : [];
  const name = make("span.name", { title: map.name }, make("kbd", map.key), " ", ...broken(map.name));
  return make("figure", {}, press, make("figcaption", {}, name, ...result, ...saw));
}

function scoreTable(image) {
  const row = (name, values) => {
    const known = values.filter((value) => value !== null).map(number), several = new Set(known).size > 1;
    const best = several ? number(Math.max(...known)) : null;
    const cell = (value) => make("td.num", {}, number(value) === best ? make("b", best) : number(value));
    return make("tr", {}, make("th", { scope: "row" }, ...name), ...values.map(cell));
  };
  const rows = image.ious.map(([each, ...values]) => {
    const absent = image.truth.includes(each) ? [] : [make("span.letters", "not in the truth")];
    return row([patch(palette[each] ?? WHITE), ...broken(className(each)), ...absent], values);
  });
  const names = runs.map((run) => make("th.num", { scope: "col" }, ...broken(run.name)));
  const head = make("tr", {}, make("th", { scope: "col", textContent: "class" }), ...names);
  return make("table.narrow", {}, make("caption", "IoU of each class in this image, %"),
    make("thead", {}, head), make("tbody", {}, row(["mean"], image.miou), ...rows));
}

// Moves and keys

function choose(index) {
  const isFocused = $("strip").contains(document.activeElement);
  state.map = index;
  $("maps").querySelectorAll("input")[index].checked = true;
  for (const option of state.options.values()) {
    if (option.querySelector("canvas")) fillShot(option.querySelector(".shot"), imageOf(option), maps[index]);
  }
  show();
  if (isFocused) $("strip").querySelectorAll("button")[index].focus();
}

function move(steps) {
  const place = state.found.indexOf(state.current) + steps;
  state.current = state.found[Math.min(Math.max(place, 0), state.found.length - 1)] ?? state.current;
  show();
}

// On a phone the list is one row, in which up and down go to the neighbours, too.
const isRow = () => getComputedStyle($("list")).gridAutoFlow === "column";
const perRow = () => (isRow() ? 1 : getComputedStyle($("list")).gridTemplateColumns.split(" ").length);
const MOVES = {
  ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: perRow, ArrowUp: () => -perRow(),
  PageDown: () => 3 * perRow(), PageUp: () => -3 * perRow(), Home: () => -Infinity, End: () => Infinity,
};

// What a key does; null where it is left to the browser.
function actionOf({ key, target, ctrlKey, metaKey, altKey }) {
  if (target === $("query")) return { Escape: emptySearch, Enter: () => $("list").focus() }[key] ?? null;
  if ($("help").open || ctrlKey || metaKey || altKey || target.matches("select")) return null;
  const isAmongImages = target === $("list") || ($("viewer").contains(target) && !target.matches(".scroll"));
  if (key in MOVES) return isAmongImages ? () => move(MOVES[key]()) : null;
  if (!$("keys-on").checked) return null;
  const box = $("explorer").getBoundingClientRect(), isSeen = box.top < innerHeight && box.bottom > 0;
  const index = isSeen ? maps.findIndex((map) => map.key === key.toLowerCase()) : -1;
  return index >= 0 ? () => choose(index) : { "/": () => $("query").select(), "?": help }[key] ?? null;
}

function emptySearch() {
  $("query").value = "";
  filter(false);
  $("list").focus();
}

function help() {
  const keys = [
    ["\u2190 \u2192 \u2191 \u2193", "another image, from the list or the picture"],
    ["Home End", "the first and the last image"], ["/", "search by id"], ["Esc", "empty the search; close this"],
    ...maps.map((map) => [map.key, `show ${map.name}`]), ["?", "this help"],
  ];
  const entries = keys.flatMap(([key, text]) => [make("dt", {}, make("kbd", key)), make("dd", text)]);
  $("help-keys").replaceChildren(...entries);
  $("help").showModal();
}

// Files of images

async function saveRow() {
  const image = state.current, opacity = $("opacity").value / 100;
  const row = maps.filter((map, index) => has(image, map) && (!map.colour || index === state.map));
  const width = 400, height = Math.round((width * image.size[1]) / image.size[0]), gap = 10, head = 30;
  const canvas = make("canvas", { width: row.length * (width + gap) - gap, height: height + head });
  const pen = canvas.getContext("2d"), photo = await loaded(image.photo), layer = make("canvas");
  Object.assign(pen, { fillStyle: "#fff", font: "16px Helvetica, Arial, sans-serif" });
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = "#000";
  for (const [place, map] of row.entries()) {
    const left = place * (width + gap), result = map.run >= 0 ? `  ${number(image.miou[map.run])}` : "";
    await paint(layer, image, map);
    pen.fillText(map.name + result, left, head - 10, width);
    Object.assign(pen, { filter: map.needs ? "grayscale(.85)" : "none", imageSmoothingEnabled: true });
    pen.drawImage(photo, left, head, width, height);
    Object.assign(pen, { filter: "none", imageSmoothingEnabled: false, globalAlpha: opacity });
    pen.drawImage(layer, left, head, width, height);
    pen.globalAlpha = 1;
  }
  saveCanvas(`${image.id}.png`, canvas);
}

function saveScores() {
  const what = label() === null ? "mIoU" : `IoU ${className(label())}`;
  const rows = state.found.map((image) => [image.id, ...scores(image).map((value) => value ?? "")]);
  const table = [["id", ...runs.map((run) => `${what} ${run.name}`)], ...rows];
  save("scores.csv", csv(table.map((row) => row.map((text) => ({ text: String(text) })))), "text/csv");
}

// Begin

function fillFields() {
  const option = ([text, value]) => make("option", { textContent: text, value });
  const offer = (id, texts) => $(id).append(...texts.map(option));
  const count = (each) => data.images.filter((image) => image.truth.includes(each)).length;
  offer("class", [["all", ""], ...data.classes.map((name, each) => [`${name} (${count(each)})`, each])]);
  offer("where", Object.keys(WHERE).map((name) => [name, name]));
  offer("order", Object.keys(orders).map((name) => [name, name]));
  for (const id of ["run-shown", "against"]) {
    offer(id, runs.map((run, place) => [run.name, place]));
    $(id).closest(".field").hidden = runs.length < 2;
  }
  $("against").value = String(Math.min(1, runs.length - 1));
  $("maps").append(...maps.map((map, index) => {
    const input = make("input", { type: "radio", name: "map", value: index });
    input.addEventListener("change", () => choose(index));
    return make("label", {}, input, make("kbd", map.key), ` ${map.name}`);
  }));
}

function explore() {
  data.images.forEach((image, place) => { image.place = place; });
  fillFields();
  const work = { "row-png": saveRow, "scores-csv": saveScores, "help-button": help };
  const press = { previous: () => move(-1), next: () => move(1), ...work };
  for (const [id, done] of Object.entries(press)) $(id).addEventListener("click", done);
  for (const id of ["class", "where", "order", "run-shown", "against"]) $(id).addEventListener("change", () => filter(true));
  $("query").addEventListener("input", () => filter(false));
  const tone = () => {
    $("explorer").style.setProperty("--opacity", `${$("opacity").value}%`);
    $("opacity-said").value = `${$("opacity").value} %`;
  };
  $("opacity").value = 60;
  $("opacity").addEventListener("input", tone);
  document.addEventListener("keydown", (event) => {
    const action = actionOf(event);
    if (action) event.preventDefault();
    action?.();
  });
  // As many maps in each row as make all rows alike, at most 8 on a desk and 4 on a phone.
  const across = (most) => Math.ceil(maps.length / Math.ceil(maps.length / most));
  $("strip").style.setProperty("--wide", across(8));
  $("strip").style.setProperty("--narrow", across(4));
  $("explorer").hidden = false;
  state.map = maps.findIndex((map) => map.run === 0);
  $("maps").querySelectorAll("input")[state.map].checked = true;
  tone();
  filter(true);
}

addButtons();
offerColours();
if (data) explore();
