"use strict";
// The case browser. Which detection hits which true box was decided by the evaluator; here it is
// only shown: a true box is found at a confidence if the detection that hits it has at least that.
(() => {
  const source = document.getElementById("slices");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  if (!data.slices.length) return;
  const $ = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";
  const browser = $("browser");
  const stage = $("stage");
  const burnt = data.detectors.length === 0; // boxes are part of the pictures
  const state = { slice: 0, finding: -1, detector: 0, truth: true, found: true, zoom: false, confidence: 0 };

  const make = (name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const cell = (row, name, text, kind) => {
    const element = document.createElement(name);
    element.textContent = text;
    if (kind) element.className = kind;
    if (name === "th") element.scope = "row";
    row.append(element);
  };

  // Slices of each case, from the feet to the head.
  const ofCase = data.cases.map(() => []);
  data.slices.forEach((slice, number) => ofCase[slice.case].push(number));
  ofCase.forEach((own) => own.sort((a, b) => data.slices[a].slice - data.slices[b].slice));

  const counts = (slice) => {
    const own = burnt ? [] : slice.found[state.detector].filter((row) => row[5] >= state.confidence);
    const hit = new Set(own.map((row) => row[6]).filter((place) => place >= 0));
    return { own, hit };
  };

  const label = (group, box, text, below, size, height) => {
    const y = below ? Math.min(box[1] + box[3] + size * 1.05, height - 2) : Math.max(box[1] - size * 0.3, size);
    group.append(make("text", { x: box[0], y, "font-size": size }, text));
  };

  const drawBox = (slice, box, kind, colour, text, below, view) => {
    const group = make("g", { color: colour });
    group.append(make("rect", { class: kind, x: box[0], y: box[1], width: box[2], height: box[3] }));
    label(group, box, text, below, view[2] / 30, slice.size[1]);
    stage.append(group);
  };

  const target = (slice) => {
    const finding = data.findings[state.finding];
    if (finding && finding.slice === state.slice) return finding.box;
    const boxes = [...slice.truth, ...counts(slice).own, ...(slice.listed || [])];
    return boxes.length ? boxes[0] : null;
  };

  const viewOf = (slice) => {
    const [width, height] = slice.size;
    if (!state.zoom) return [0, 0, width, height];
    const box = target(slice) || [width / 2, height / 2, 0, 0];
    const side = Math.min(Math.max(Math.max(width, height) / 3, 2 * Math.max(box[2], box[3])), Math.max(width, height));
    const clamp = (centre, whole) => Math.max(0, Math.min(centre - side / 2, whole - side));
    return [clamp(box[0] + box[2] / 2, width), clamp(box[1] + box[3] / 2, height), side, side];
  };

  const show = () => {
    const slice = data.slices[state.slice];
    const name = data.cases[slice.case].name;
    const own = ofCase[slice.case];
    const { own: found, hit } = counts(slice);
    const view = viewOf(slice);
    stage.replaceChildren(make("image", { href: slice.picture, width: slice.size[0], height: slice.size[1] }));
    stage.setAttribute("viewBox", view.join(" "));
    const rows = document.createDocumentFragment();
    const list = (what, kind, score, box) => {
      const row = document.createElement("tr");
      cell(row, "th", what);
      cell(row, "td", data.classes[kind], "left");
      cell(row, "td", score);
      cell(row, "td", box ? `${Math.round(box[2])} × ${Math.round(box[3])}` : "");
      rows.append(row);
    };
    slice.truth.forEach((row, place) => {
      const missed = !hit.has(place);
      list(missed ? "truth, missed" : "truth, found", row[4], "", row);
      if (state.truth) drawBox(slice, row, missed ? "truth missed" : "truth", "#00c800", data.classes[row[4]], true, view);
    });
    [...found].reverse().forEach((row) => {
      const text = `${data.classes[row[4]]} ${row[5].toFixed(2)}`;
      if (state.found) drawBox(slice, row, row[6] < 0 ? "found wrong" : "found", data.colours[row[4]], text, false, view);
    });
    found.forEach((row) => list(row[6] < 0 ? "false positive" : "hit", row[4], row[5].toFixed(3), row));
    (slice.listed || []).forEach((row) => list("detection", row[4], row[5].toFixed(3), row));
    if (data.sides) {
      const size = view[2] / 22;
      const middle = view[1] + view[3] / 2;
      stage.append(make("text", { class: "side-letter", x: view[0] + size / 3, y: middle, "font-size": size }, "R"));
      stage.append(make("text", { class: "side-letter", x: view[0] + view[2] - size, y: middle, "font-size": size }, "L"));
    }
    $("boxes").tBodies[0].replaceChildren(rows);
    $("boxes").hidden = !$("boxes").tBodies[0].rows.length;
    const place = own.indexOf(state.slice) + 1;
    const whole = data.cases[slice.case].slices;
    const finding = data.findings[state.finding];
    const pointed = finding && finding.slice === state.slice ? ` · ${finding.text}` : "";
    $("caption").textContent =
      `${name} · slice ${slice.slice} · ${place} of ${own.length}` +
      (own.length < whole ? ` shown; the case has ${whole}` : "") + (data.window ? ` · ${data.window}` : "") + pointed +
      (data.cases[slice.case].note ? ` · Warning: ${data.cases[slice.case].note}` : "");
    browser.dataset.case = name;
    browser.dataset.slice = slice.slice;
    $("case").value = slice.case;
    $("detector").value = state.detector;
    $("truth").setAttribute("aria-pressed", state.truth);
    $("detections").setAttribute("aria-pressed", state.found);
    $("zoom").setAttribute("aria-pressed", state.zoom);
    $("confidence").value = state.confidence;
    $("confidence-value").textContent = state.confidence.toFixed(2);
    document.querySelectorAll("#findings button").forEach((button, number) => {
      button.setAttribute("aria-current", number === state.finding);
    });
  };

  const go = (slice) => {
    state.slice = slice;
    const finding = data.findings[state.finding];
    if (!finding || data.slices[finding.slice].case !== data.slices[slice].case) state.finding = -1;
    show();
  };
  const scroll = (by) => {
    const own = ofCase[data.slices[state.slice].case];
    const place = own.indexOf(state.slice) + by;
    if (own[place] !== undefined) go(own[place]);
  };
  const toCase = (number) => {
    const own = ofCase[number];
    if (!own) return;
    // the slice with the most to see: the most true boxes, else the surest detection
    const weight = (k) => {
      const slice = data.slices[k];
      const rows = burnt ? slice.listed : slice.found[state.detector];
      const top = rows.reduce((most, row) => Math.max(most, row[5]), 0);
      return slice.truth.length * 2 + top;
    };
    go(own.reduce((best, k) => (weight(k) > weight(best) ? k : best), own[0]));
  };
  const toFinding = (number) => {
    if (!data.findings[number]) return;
    state.finding = number;
    state.slice = data.findings[number].slice;
    const detector = data.findings[number].detector || 0; // the one that errs
    if (detector !== state.detector) {
      state.detector = detector;
      state.confidence = frozen();
    }
    show();
    const list = $("findings");
    const button = list.children[number];
    const [top, height] = [button.offsetTop - list.offsetTop, button.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + height > list.scrollTop + list.clientHeight) list.scrollTop = top + height - list.clientHeight;
  };
  const frozen = () => (burnt ? 0 : data.detectors[state.detector].confidence);
  const reset = () => { state.confidence = frozen(); show(); };
  const toggle = (what) => { state[what] = !state[what]; show(); };

  const actions = {
    k: () => scroll(1), ArrowUp: () => scroll(1),
    j: () => scroll(-1), ArrowDown: () => scroll(-1),
    n: () => toCase(data.slices[state.slice].case + 1),
    p: () => toCase(data.slices[state.slice].case - 1),
    ArrowRight: () => toFinding(state.finding + 1),
    ArrowLeft: () => toFinding(state.finding - 1),
    t: () => toggle("truth"),
    d: () => toggle("found"),
    z: () => toggle("zoom"),
    o: reset,
    "?": () => $("keys").showModal(),
  };
  // only while the focus is inside, so that the page itself keeps its keys
  browser.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const own = event.target.matches("input, select") && event.key.startsWith("Arrow");
    if (own || (event.target.matches("select") && event.key.length === 1)) return;
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  stage.addEventListener("wheel", (event) => {
    if (!browser.contains(document.activeElement)) return;
    event.preventDefault();
    scroll(event.deltaY > 0 ? -1 : 1);
  }, { passive: false });
  stage.addEventListener("click", () => browser.focus({ preventScroll: true }));
  const press = { up: "k", down: "j", previous: "p", next: "n", truth: "t", detections: "d", zoom: "z", help: "?", reset: "o" };
  for (const [id, key] of Object.entries(press)) $(id).addEventListener("click", actions[key]);

  data.cases.forEach((one, number) => $("case").append(new Option(one.name, number)));
  $("case").addEventListener("change", (event) => toCase(Number(event.target.value)));
  data.detectors.forEach((one, number) => $("detector").append(new Option(one.name, number)));
  $("detector").addEventListener("change", (event) => { state.detector = Number(event.target.value); reset(); });
  $("detector-label").hidden = data.detectors.length < 2;
  $("point").hidden = burnt;
  $("truth").hidden = $("detections").hidden = burnt;
  $("confidence").min = Math.ceil(data.floor * 100) / 100;
  $("confidence").addEventListener("input", (event) => { state.confidence = Number(event.target.value); show(); });

  data.findings.forEach((one, number) => {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const kind = document.createElement("span");
    kind.className = "kind";
    kind.textContent = `${one.case}, slice ${one.index}`;
    button.append(kind, one.text);
    button.addEventListener("click", () => toFinding(number));
    item.append(button);
    $("findings").append(item);
  });
  document.querySelectorAll("[data-finding]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      toFinding(Number(button.dataset.finding));
      browser.scrollIntoView();
      browser.focus({ preventScroll: true });
    });
  });

  browser.hidden = false;
  state.confidence = frozen();
  if (data.findings.length) toFinding(0);
  else toCase(0);
})();
