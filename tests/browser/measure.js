// What a page must not show: each function gives the places at fault, as short texts.

const within = (value, low, high) => value >= low - 0.5 && value <= high + 0.5;
const place = (node) => {
  const element = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
  return `<${element.tagName.toLowerCase()} class="${element.getAttribute("class") ?? ""}"> ${node.textContent.trim().slice(0, 60)}`;
};

// Every stretch of text that is drawn, with the boxes that it is drawn in.
function* drawnTexts() {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [...range.getClientRects()].filter((box) => box.width && box.height);
    const hidden = !node.parentElement.checkVisibility({ visibilityProperty: true, opacityProperty: true });
    if (node.textContent.trim() && boxes.length && !hidden) yield { node, boxes };
  }
}

function overflowing() {
  const faults = [];
  const page = document.scrollingElement;
  if (page.scrollWidth > innerWidth) faults.push(`the page is ${page.scrollWidth} px wide in ${innerWidth}`);
  for (const element of document.querySelectorAll("body *")) {
    const style = getComputedStyle(element);
    if (element instanceof SVGElement || style.display === "inline" || style.display === "none") continue;
    const parent = element.parentElement.getBoundingClientRect();
    const box = element.getBoundingClientRect();
    if (box.width && !(within(box.left, parent.left, parent.right) && within(box.right, parent.left, parent.right)))
      faults.push(`${place(element)} is wider than what it stands in`);
    if (style.overflowX !== "visible" && element.scrollWidth > element.clientWidth + 1)
      faults.push(`${place(element)} is cut off`);
  }
  for (const { node, boxes } of drawnTexts())
    for (const box of boxes)
      if (!(within(box.left, 0, innerWidth) && within(box.right, 0, innerWidth))) faults.push(`${place(node)} leaves the page`);
  return faults;
}

// Two texts drawn over each other; parts of one line touch, but do not cover each other.
function covered() {
  const faults = [];
  const boxes = [...drawnTexts()].flatMap(({ node, boxes }) => boxes.map((box) => ({ node, box })));
  boxes.sort((a, b) => a.box.top - b.box.top);
  boxes.forEach(({ node, box }, at) => {
    for (let next = at + 1; next < boxes.length && boxes[next].box.top < box.bottom; next++) {
      const other = boxes[next].box;
      const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
      const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
      if (across > 1 && down > 0.4 * Math.min(box.height, other.height)) faults.push(`${place(node)} covers ${place(boxes[next].node)}`);
    }
  });
  return faults;
}

// Numbers that go on in the next line.
function broken() {
  const figures = [...document.querySelectorAll(".figure")];
  return figures.filter((each) => each.getClientRects().length > 1).map((each) => `${place(each)} in ${place(each.parentElement)}`);
}

function small() {
  const faults = [];
  for (const { node } of drawnTexts()) {
    const element = node.parentElement;
    const scale = element instanceof SVGElement ? element.getScreenCTM().a : 1;
    const size = parseFloat(getComputedStyle(element).fontSize) * scale;
    if (size < 12) faults.push(`${place(node)} is ${size} px`);
  }
  return faults;
}

function faint() {
  const faults = [];
  for (const { node } of drawnTexts()) {
    const element = node.parentElement;
    const style = getComputedStyle(element);
    const bar = element.parentElement.querySelector(":scope > rect"); // of an SVG, which has no background
    const behind = bar && element instanceof SVGElement ? rgba(getComputedStyle(bar).fill) : background(element);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), behind);
    const [light, dark] = [luminance(ink), luminance(behind)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < 4.5) faults.push(`${place(node)} has a contrast of ${contrast.toFixed(2)}`);
  }
  return faults;
}

function background(element) {
  const layers = [];
  for (let at = element; at; at = at.parentElement) layers.push(rgba(getComputedStyle(at).backgroundColor));
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255, 1]);
}

function rgba(colour) {
  const found = colour.match(/^rgba?\((.*)\)$/);
  if (!found) throw new Error(`cannot read the colour ${colour}`);
  const [red, green, blue, alpha = 1] = found[1].split(/[ ,/]+/).map(Number);
  return [red, green, blue, alpha];
}

const over = ([r, g, b, a], below) => [...[r, g, b].map((value, at) => value * a + below[at] * (1 - a)), 1];

// As WCAG 2 defines it.
function luminance(colour) {
  const [red, green, blue] = colour.slice(0, 3).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

// Everything on the page that says where in report.json it is from: [path, artifacts, text].
const traced = () =>
  [...document.querySelectorAll("[data-path]")].map((element) => [
    element.dataset.path,
    element.dataset.artifact?.split(" ") ?? null,
    element instanceof SVGElement ? element.textContent.replace(/^.*: /, "") : element.textContent,
  ]);

// Digits that do not say where they are from. A metric's name, its definition and a note on the method may hold some.
function untraced() {
  const allowed = "[data-path], .note, #definitions dl, .tick, .axis, .name, .rule, .metric, .more li > span, thead, .group, footer code, title, h4";
  return [...drawnTexts()].filter(({ node }) => /\d/.test(node.textContent) && !node.parentElement.closest(allowed)).map(({ node }) => place(node));
}
