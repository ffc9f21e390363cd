"use strict";
// The report in a browser: the images with their maps, files for a paper, and the choice of colours. Plain JavaScript;
// every text goes into the page as text, and nothing is fetched.

const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function button(text, press, properties = {}) {
  const made = make("button", { type: "button", textContent: text, ...properties });
  made.addEventListener("click", press);
  return made;
}

// Files and the clipboard

const stem = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "") || "chart";

function save(name, blob) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const saveCanvas = (name, canvas) => canvas.toBlob((blob) => save(name, blob), "image/png");

async function copy(text, pressed) {
  const before = pressed.textContent;
  try {
    await navigator.clipboard.writeText(text);
    pressed.textContent = "copied";
  } catch {
    save(`${stem(before)}.txt`, new Blob([text], { type: "text/plain" }));
    pressed.textContent = "saved as a file";
  }
  setTimeout(() => { pressed.textContent = before; }, 2000);
}

function loaded(source) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("a picture of this page is broken"));
    image.src = source;
  });
}

// Charts: as they are in print, with title and legend, which the page leaves out

function printed(svg) {
  const whole = svg.cloneNode(true), [, , width, height] = svg.dataset.whole.split(" ");
  whole.setAttribute("viewBox", svg.dataset.whole);
  whole.setAttribute("width", width);
  whole.setAttribute("height", height);
  return { text: new XMLSerializer().serializeToString(whole), width: Number(width), height: Number(height) };
}

function saveSvg(svg) {
  save(`${stem(svg.ariaLabel)}.svg`, new Blob([printed(svg).text], { type: "image/svg+xml" }));
}

async function savePng(svg) {
  const { text, width, height } = printed(svg), scale = 4;
  const image = await loaded(`data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`);
  const canvas = make("canvas", { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  saveCanvas(`${stem(svg.ariaLabel)}.png`, canvas);
}

function fileButtons(svg) {
  const press = (what, work) => button(what, () => work(svg), { ariaLabel: `${svg.ariaLabel} as ${what}` });
  return make("p", { className: "buttons" }, press("SVG", saveSvg), press("PNG", savePng));
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

const csvCell = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
const csv = (rows) => rows.map((row) => row.map((cell) => csvCell(cell.text)).join(",") + "\n").join("");

function markdown([head, ...body]) {
  const cell = ({ text, best }) => {
    const safe = text.replace(/[\\`*_[\]<>|]/g, "\\$&");
    return best ? `**${safe}**` : safe;
  };
  const line = (cells) => `| ${cells.join(" | ")} |\n`;
  return [head.map(cell), head.map(() => "---"), ...body.map((row) => row.map(cell))].map(line).join("");
}

function latex([head, ...body]) {
  const names = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
  const safe = (text) => text.replace(/[\\~^&%$#_{}]/g, (letter) => names[letter] ?? `\\${letter}`);
  const cell = ({ text, best }) => (best ? `\\textbf{${safe(text)}}` : safe(text));
  const line = (row) => `  ${row.map(cell).join(" & ")} \\\\\n`;
  const isNumber = (column) => body.every((row) => /^[-+\d.,]*$/.test(row[column].text));
  const columns = head.map((_, column) => (isNumber(column) ? "r" : "l")).join("");
  return `\\begin{tabular}{${columns}}\n  \\toprule\n${line(head)}  \\midrule\n${body.map(line).join("")}`
    + "  \\bottomrule\n\\end{tabular}\n";
}

function copyButtons(table, name) {
  const kinds = { Markdown: markdown, CSV: csv, LaTeX: latex };
  const buttons = Object.entries(kinds).map(([what, write]) =>
    button(what, (event) => copy(write(cellsOf(table)), event.currentTarget), { ariaLabel: `Copy ${name} as ${what}` }));
  return make("p", { className: "buttons" }, "Copy as", ...buttons);
}

function addButtons() {
  for (const svg of document.querySelectorAll("figure.chart > svg")) svg.after(fileButtons(svg));
  for (const kept of document.querySelectorAll("template[data-file]")) {
    kept.replaceWith(fileButtons(kept.content.querySelector("svg")));
  }
  for (const region of document.querySelectorAll(".scroll:has(> table)")) {
    region.after(copyButtons(region.querySelector("table"), region.ariaLabel));
  }
}

// Colours of the page

function offerColours() {
  const theme = $("theme");
  theme.parentElement.hidden = false;
  theme.addEventListener("change", () => { document.documentElement.dataset.theme = theme.value; });
}

// Images and their maps

// A colour as the four bytes of a pixel. The colours of errors and changes can be told apart by the colour blind.
const rgb = (red, green, blue) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
const css = (colour) => `rgb(${colour & 255}, ${(colour >> 8) & 255}, ${(colour >> 16) & 255})`;
const IGNORE = 255, CLEAR = 0, WHITE = rgb(255, 255, 255);
const MISSED = rgb(0, 114, 178), EXTRA = rgb(213, 94, 0), CONFUSED = rgb(204, 121, 167);
const MENDED = rgb(0, 158, 115), BROKEN = rgb(213, 94, 0), OTHER = rgb(240, 228, 66);
const HATCH = [rgb(200, 200, 200), rgb(150, 150, 150)];

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

function explore(data) {
  const runs = data.sources.filter((source) => source.run !== null);
  const placeOf = (run) => data.sources.indexOf(runs[run]);
  const state = { found: [], current: null, map: 0, labels: new Map(), option: new Map() };
  const number = (value) => (value === null || value === undefined ? "-" : value.toFixed(1));
  const className = (label) => data.classes[label] ?? `class ${label} (unknown)`;

  // Maps that can be chosen: the photograph, the truth, every other source, and two that compare.
  const maps = [{ key: "p", name: "photograph" }];
  data.sources.forEach((source, place) => {
    const key = source.run !== null ? String(runs.indexOf(source) + 1) : place ? "w" : "t";
    maps.push({ key, name: source.name, saw: source.saw, place, run: runs.indexOf(source), needs: () => [place] });
  });
  maps.push({ key: "e", name: "errors", colour: errorColour, needs: () => [0, placeOf(chosen("run-shown"))] });
  if (runs.length > 1) {
    const needs = () => [0, placeOf(chosen("run-shown")), placeOf(chosen("against"))];
    maps.push({ key: "c", name: "change", colour: changeColour, needs });
  }
  const meanings = {
    e: [["missed: background instead of a class", MISSED], ["a class instead of background", EXTRA], ["another class", CONFUSED]],
    c: [["mended", MENDED], ["broken", BROKEN], ["wrong in another way", OTHER]],
  };

  const chosen = (id) => Number($(id).value);
  const palette = data.palette.map((parts) => (parts.some((part) => part > 0) ? rgb(...parts) : CLEAR));
  const isBackground = (label) => palette[label] === CLEAR;
  const colourOf = (label) => palette[label] ?? WHITE;
  const lighter = palette.map((colour, label) => colour && rgb(...data.palette[label].map((part) => 90 + 0.65 * part)));

  function errorColour(truth, seen) {
    if (truth === seen) return CLEAR;
    return isBackground(seen) ? MISSED : isBackground(truth) ? EXTRA : CONFUSED;
  }

  function changeColour(truth, now, before) {
    if (now === before) return CLEAR;
    return now === truth ? MENDED : before === truth ? BROKEN : OTHER;
  }

  const has = (image, map) => !map.needs || map.needs().every((place) => image.shown.includes(place));

  // The labels of an image, one array a source; those of the last images are kept.
  function labelsOf(image) {
    const kept = state.labels.get(image) ?? unpacked(image.maps).then(({ width, height, values }) => {
      const high = height / image.shown.length, labels = values.map((value) => image.labels[value]);
      const of = Object.fromEntries(image.shown.map((place, order) =>
        [place, labels.subarray(order * width * high, (order + 1) * width * high)]));
      return { width, height: high, of };
    });
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
    const [first, second, third] = map.needs().map((place) => of[place]), drawn = new ImageData(width, height);
    const pixels = new Uint32Array(drawn.data.buffer);
    for (let place = 0, y = 0; y < height; y += 1) {
      for (let x = 0; x < width; x += 1, place += 1) {
        const label = first[place];
        if (label === IGNORE) pixels[place] = HATCH[((x + y) >> 2) & 1];
        else if (map.colour) pixels[place] = map.colour(label, second[place], third?.[place]);
        else if ((x && first[place - 1] !== label) || (y && first[place - width] !== label)) pixels[place] = lighter[label] ?? WHITE;
        else pixels[place] = colourOf(label);
      }
    }
    canvas.getContext("2d").putImageData(drawn, 0, 0);
  }

  // A photograph with a map over it; the style sheet gives the map its opacity.
  function fillShot(shot, image, map) {
    const photo = make("img", { src: image.photo, alt: "" }), canvas = make("canvas");
    shot.classList.toggle("crisp", Math.max(...image.size) <= 160);
    shot.classList.toggle("toned", map.needs !== undefined);
    shot.style.setProperty("--ratio", image.size[0] / image.size[1]);
    shot.replaceChildren(photo, canvas);
    return paint(canvas, image, map);
  }

  // Filters

  const iousOf = (image, label) => image.ious.find(([each]) => each === label)?.slice(1) ?? runs.map(() => null);
  const label = () => ($("class").value === "" ? null : chosen("class"));
  const scores = (image) => (label() === null ? image.miou : iousOf(image, label()));
  const score = (image) => scores(image)[chosen("run-shown")] ?? null;
  const gain = (image) => {
    const before = runs.length > 1 ? scores(image)[chosen("against")] : null;
    return score(image) === null || before === null || before === undefined ? null : score(image) - before;
  };

  const where = {
    "in the truth": (image) => image.truth.includes(label()),
    "in the truth, not found": (image) => image.truth.includes(label()) && score(image) === 0,
    "predicted, not in the truth": (image) => !image.truth.includes(label()) && score(image) === 0,
    "in either": (image) => image.truth.includes(label()) || score(image) !== null,
  };
  const order = {
    "worst first": score,
    "best first": (image) => -(score(image) ?? NaN),
    ...(runs.length > 1 && {
      "gained most": (image) => -(gain(image) ?? NaN),
      "lost most": gain,
      "most changed": (image) => -Math.abs(gain(image) ?? NaN),
    }),
    "by id": null,
  };

  function filter() {
    const wanted = $("query").value.trim().toLowerCase(), rank = order[$("order").value];
    $("where").disabled = label() === null;
    state.found = data.images.filter((image) =>
      image.id.toLowerCase().includes(wanted) && (label() === null || where[$("where").value](image)));
    if (rank) {
      const key = new Map(state.found.map((image) => [image, rank(image)]));
      const last = (image) => (Number.isFinite(key.get(image) ?? NaN) ? key.get(image) : Infinity);
      state.found.sort((one, other) => (last(one) === last(other) ? 0 : last(one) - last(other)));
    }
    $("tally").textContent = `${state.found.length.toLocaleString("en")} of ${data.images.length.toLocaleString("en")} images`;
    list();
    if (!state.found.includes(state.current)) state.current = state.found[0] ?? state.current ?? data.images[0];
    show();
  }

  // The list: what is in sight is drawn, the rest is a frame

  const sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const shot = target.querySelector(".shot"), image = data.images[Number(target.dataset.place)];
      if (isIntersecting) fillShot(shot, image, maps[state.map]);
      else shot.replaceChildren();
    }
  }, { root: $("list"), rootMargin: "200px" });

  function list() {
    sight.disconnect();
    state.option = new Map(state.found.map((image) => {
      const change = gain(image);
      const said = make("span", { className: "said" }, number(score(image)));
      if (change) said.append(make("span", { className: change > 0 ? "up" : "down", textContent: `${change > 0 ? "+" : "\u2212"}${number(Math.abs(change))}` }));
      const option = make("div", { className: "option", id: `image-${image.place}`, role: "option" }, make("span", { className: "shot" }), make("span", { className: "id", textContent: image.id }), said);
      option.dataset.place = image.place;
      option.addEventListener("click", () => { state.current = image; show(); });
      return [image, option];
    }));
    $("list").replaceChildren(...state.option.values());
    if (!state.found.length) $("list").append(make("p", { className: "note", textContent: "No image fits; another class or id may." }));
    for (const option of state.option.values()) sight.observe(option);
  }

  const inSight = () => [...state.option.values()].filter((option) => option.querySelector("canvas"));

  // The image that is looked at

  function show() {
    const image = state.current, map = maps[state.map];
    for (const option of $("list").querySelectorAll("[aria-selected=true]")) option.ariaSelected = "false";
    const option = state.option.get(image);
    $("list").removeAttribute("aria-activedescendant");
    if (option) {
      option.ariaSelected = "true";
      $("list").setAttribute("aria-activedescendant", option.id);
      const box = option.getBoundingClientRect(), frame = $("list").getBoundingClientRect();
      if (box.top < frame.top || box.bottom > frame.bottom) $("list").scrollTop += box.top - frame.top - (frame.height - box.height) / 2;
    }
    $("shown-id").textContent = image.id;
    $("large").ariaLabel = `${image.id}, ${map.name}`;
    fillShot($("large"), image, map);
    describe(image, map);
    strip(image);
    table(image);
  }

  // What the colours of the shown map mean.
  function describe(image, map) {
    const now = runs[chosen("run-shown")].name, before = runs[chosen("against")].name;
    const heads = { p: "The photograph alone.", e: `Errors of ${now}:`, c: `${now} against ${before}:` };
    const labels = image.ious.map(([each]) => each).filter((each) => !isBackground(each));
    const classes = labels.map((each) => [className(each), colourOf(each)]);
    const entries = (map.key === "p" ? [] : meanings[map.key] ?? classes).map(([text, colour]) => make("span", { className: "meaning" }, patch(colour), text));
    $("shown-map").replaceChildren(heads[map.key] ?? `${map.name}:`, has(image, map) ? "" : " there is no such map of this image", " ", ...entries);
  }

  function patch(colour) {
    const made = make("span", { className: "patch" });
    made.style.background = css(colour);
    return made;
  }

  function strip(image) {
    const figures = maps.map((map, index) => {
      const shot = make("span", { className: "shot" }), run = map.run >= 0 ? image.miou[map.run] : null;
      const press = button("", () => choose(index), { className: "pick", ariaLabel: `Show ${map.name}`, ariaPressed: String(index === state.map) });
      press.append(shot);
      if (has(image, map)) fillShot(shot, image, map);
      else shot.append(make("span", { className: "hole", textContent: "none" }));
      const saw = map.saw ? make("span", { className: "saw", textContent: `saw ${map.saw}` }) : "";
      const about = make("figcaption", {}, make("kbd", { textContent: map.key }), ` ${map.name} `, run === null ? "" : make("b", { textContent: number(run) }), saw);
      return make("figure", {}, press, about);
    });
    $("strip").replaceChildren(...figures);
  }

  function table(image) {
    const head = make("tr", {}, ...["class", ...runs.map((run) => run.name)].map((text, place) => make("th", { scope: "col", className: place ? "num" : "", textContent: text })));
    const row = (name, values) => {
      const best = values.filter((value) => value !== null).length > 1 ? number(Math.max(...values)) : null;
      const cells = values.map((value) => make("td", { className: "num" }, number(value) === best ? make("b", { textContent: best }) : number(value)));
      return make("tr", {}, make("th", { scope: "row" }, ...name), ...cells);
    };
    const rows = image.ious.map(([each, ...values]) => {
      return row([patch(colourOf(each)), className(each), image.truth.includes(each) ? "" : make("span", { className: "saw", textContent: "not in the truth" })], values);
    });
    $("shown-scores").replaceChildren(make("table", { className: "narrow" },
      make("caption", { textContent: "IoU of each class in this image, %" }), make("thead", {}, head), make("tbody", {}, row(["mean"], image.miou), ...rows)));
  }

  // Moves

  function choose(index) {
    const focused = $("strip").contains(document.activeElement);
    state.map = index;
    $("maps").querySelectorAll("input")[index].checked = true;
    for (const option of inSight()) fillShot(option.querySelector(".shot"), data.images[Number(option.dataset.place)], maps[index]);
    show();
    if (focused) $("strip").querySelectorAll("button")[index].focus();
  }

  function move(steps) {
    const place = state.found.indexOf(state.current) + steps;
    state.current = state.found[Math.min(Math.max(place, 0), state.found.length - 1)] ?? state.current;
    show();
  }

  const perRow = () => getComputedStyle($("list")).gridTemplateColumns.split(" ").length;
  const moves = {
    ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: perRow, ArrowUp: () => -perRow(),
    PageDown: () => 3 * perRow(), PageUp: () => -3 * perRow(), Home: () => -Infinity, End: () => Infinity,
  };

  function pressed(event) {
    const typing = event.target.matches("input:not([type=radio], [type=range], [type=checkbox]), select, textarea");
    const open = $("help").open || event.ctrlKey || event.metaKey || event.altKey;
    if (event.key === "Escape" && event.target === $("query")) {
      $("query").value = "";
      filter();
      $("list").focus();
    } else if (event.key === "Enter" && event.target === $("query")) {
      $("list").focus();
    } else if (!open && event.key in moves && (event.target === $("list") || $("viewer").contains(event.target)) && !event.target.matches(".scroll")) {
      move(moves[event.key]());
    } else if (!open && !typing && $("keys-on").checked && letter(event.key)) {
      // done
    } else {
      return;
    }
    event.preventDefault();
  }

  function letter(key) {
    const box = $("explorer").getBoundingClientRect(), isSeen = box.top < innerHeight && box.bottom > 0;
    const index = isSeen ? maps.findIndex((map) => map.key === key.toLowerCase()) : -1;
    if (index >= 0) choose(index);
    else if (key === "/") $("query").select();
    else if (key === "?") help();
    return index >= 0 || key === "/" || key === "?";
  }

  function help() {
    const keys = [["\u2190 \u2192 \u2191 \u2193", "other image (list or picture in focus)"], ["Home End", "first and last image"], ["/", "search by id"], ["Esc", "empty the search, close this"],
      ...maps.map((map) => [map.key, `show ${map.name}`]), ["?", "this"]];
    $("help-keys").replaceChildren(...keys.flatMap(([key, text]) => [make("dt", {}, make("kbd", { textContent: key })), make("dd", { textContent: text })]));
    $("help").showModal();
  }

  // Files

  async function rowPng() {
    const image = state.current, shown = maps.filter((map, index) => has(image, map) && (map.colour === undefined || index === state.map));
    const width = 400, high = Math.round((width * image.size[1]) / image.size[0]), gap = 10, head = 30;
    const canvas = make("canvas", { width: shown.length * (width + gap) - gap, height: high + head }), pen = canvas.getContext("2d");
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const photo = await loaded(image.photo), layer = make("canvas");
    for (const [place, map] of shown.entries()) {
      const left = place * (width + gap), run = map.run >= 0 ? `  ${number(image.miou[map.run])}` : "";
      await paint(layer, image, map);
      Object.assign(pen, { globalAlpha: 1, fillStyle: "#000", font: "16px Helvetica, Arial, sans-serif", imageSmoothingEnabled: true });
      pen.fillText(map.name + run, left, head - 10, width);
      pen.filter = map.needs ? "grayscale(.85)" : "none";
      pen.drawImage(photo, left, head, width, high);
      Object.assign(pen, { filter: "none", globalAlpha: $("opacity").value / 100, imageSmoothingEnabled: false });
      pen.drawImage(layer, left, head, width, high);
    }
    saveCanvas(`${image.id}.png`, canvas);
  }

  function scoresCsv() {
    const what = label() === null ? "mIoU" : `IoU ${className(label())}`;
    const rows = [["id", ...runs.map((run) => `${what} ${run.name}`)], ...state.found.map((image) => [image.id, ...scores(image).map((value) => value ?? "")])];
    save("scores.csv", new Blob([csv(rows.map((row) => row.map((text) => ({ text: String(text) }))))], { type: "text/csv" }));
  }

  // Begin

  data.images.forEach((image, place) => { image.place = place; });
  const option = (text, value) => make("option", { textContent: text, value });
  const counts = data.classes.map((_, each) => data.images.filter((image) => image.truth.includes(each)).length);
  $("class").append(option("all", ""), ...data.classes.map((name, each) => option(`${name} (${counts[each]})`, each)));
  $("where").append(...Object.keys(where).map((name) => option(name, name)));
  $("order").append(...Object.keys(order).map((name) => option(name, name)));
  $("run-shown").append(...runs.map((run, place) => option(run.name, place)));
  $("against").append(...runs.map((run, place) => option(run.name, place)));
  $("against").value = String(Math.min(1, runs.length - 1));
  for (const id of runs.length > 1 ? [] : ["run-shown", "against"]) $(id).closest(".field").hidden = true;
  $("maps").append(...maps.map((map, index) => {
    const input = make("input", { type: "radio", name: "map", value: index });
    input.addEventListener("change", () => choose(index));
    return make("label", {}, input, make("kbd", { textContent: map.key }), ` ${map.name}`);
  }));
  const opacity = () => $("explorer").style.setProperty("--opacity", `${$("opacity").value}%`);
  $("opacity").value = 60;
  $("opacity").addEventListener("input", opacity);
  for (const id of ["class", "where", "order", "run-shown", "against"]) $(id).addEventListener("change", filter);
  $("query").addEventListener("input", filter);
  $("previous").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  $("row-png").addEventListener("click", rowPng);
  $("scores-csv").addEventListener("click", scoresCsv);
  $("help-button").addEventListener("click", help);
  document.addEventListener("keydown", pressed);
  $("explorer").hidden = false;
  state.map = Math.min(1 + placeOf(0), maps.length - 1);
  opacity();
  $("maps").querySelectorAll("input")[state.map].checked = true;
  filter();
}

addButtons();
offerColours();
const explored = $("explored");
if (explored) explore(JSON.parse(explored.textContent));
