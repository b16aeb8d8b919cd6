// The page works without its script, which adds sorting, filters, enlarged figures, copying, and lists behind numbers.

// --- the runs behind a number: one opens, several are listed beside it ---
const behind = one("#behind");
let asked = null;
const listRuns = (link) => {
  const entry = document.getElementById(link.hash.slice(1));
  one("#behind-title").textContent = one(".set-name", entry).textContent;
  one(".popover-list", behind).replaceChildren(one("ul", entry).cloneNode(true));
  asked = link;
  link.setAttribute("aria-expanded", "true");
  behind.showPopover();
  const at = link.getBoundingClientRect();
  const size = behind.getBoundingClientRect();
  const room = document.documentElement.clientWidth - size.width - 8;
  const below = at.bottom + 6 + size.height <= window.innerHeight;
  behind.style.left = `${Math.max(8, Math.min(at.left, room))}px`;
  behind.style.top = `${Math.max(8, below ? at.bottom + 6 : at.top - 6 - size.height)}px`;
  one("a", behind).focus();
};
behind.addEventListener("toggle", (event) => {
  if (event.newState !== "closed" || !asked) return;
  asked.setAttribute("aria-expanded", "false");
  if (document.activeElement === document.body) asked.focus();
  asked = null;
});
behind.addEventListener("focusout", (event) => {
  if (event.relatedTarget && !behind.contains(event.relatedTarget)) behind.hidePopover();
});
behind.addEventListener("keydown", (event) => {
  const links = all("a", behind);
  const place = links.indexOf(document.activeElement);
  const leaves = event.key === "Tab" && (event.shiftKey ? place === 0 : place === links.length - 1);
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) links[place + step]?.focus();
  if (leaves) { asked?.focus(); behind.hidePopover(); }
  if (step || leaves) event.preventDefault();
});
for (const link of all("a[data-several]")) {
  link.setAttribute("role", "button");
  link.setAttribute("aria-haspopup", "dialog");
  link.setAttribute("aria-expanded", "false");
  link.addEventListener("keydown", (event) => {
    if (event.key === " ") { event.preventDefault(); link.click(); }
  });
}

/** Opens what a link leads to, and what is around it. */
const reveal = (id) => {
  const target = document.getElementById(id);
  if (!target) return;
  for (let part = target; part; part = part.parentElement) {
    if (part.localName === "details") part.open = true;
    if (part.hidden) part.hidden = false;
  }
  if (target.localName === "details") one("summary", target).focus({ preventScroll: true });
  target.scrollIntoView();
};
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.dataset.several !== undefined) {
    event.preventDefault();
    listRuns(link);
    return;
  }
  if (behind.contains(link)) behind.hidePopover();
  setTimeout(() => reveal(link.hash.slice(1)));
});
addEventListener("hashchange", () => reveal(location.hash.slice(1)));

// --- figures, one at a time on the whole screen ---
const viewer = one("#viewer");
const plots = all("figure.plot");
let shown = 0;
let opener = null;
const showPlot = (place) => {
  shown = (place + plots.length) % plots.length;
  const plot = plots[shown];
  const picture = one("img", plot).cloneNode();
  one(".viewer-title", viewer).textContent = plot.dataset.title;
  one(".viewer-caption", viewer).textContent = one("figcaption", plot).textContent;
  one(".viewer-picture", viewer).replaceChildren(picture);
};
const enlarge = (place) => {
  opener = one(".enlarge", plots[place]);
  showPlot(place);
  viewer.showModal();
  one(".close", viewer).focus();
};
plots.forEach((plot, place) => {
  one(".enlarge", plot).addEventListener("click", () => enlarge(place));
  one("img", plot).addEventListener("click", () => enlarge(place));
  const svg = document.createElement("a");
  svg.className = "quiet";
  svg.download = `${plot.dataset.key}.svg`;
  svg.href = one("img", plot).src;
  svg.append("SVG", Object.assign(document.createElement("span"), { className: "sr", textContent: ` of ${plot.dataset.title}` }));
  one(".tools", plot).append(svg);
});
for (const button of all("[data-step]", viewer)) {
  button.hidden = plots.length < 2;
  button.addEventListener("click", () => { showPlot(shown + Number(button.dataset.step)); say(plots[shown].dataset.title); });
}
viewer.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step) { showPlot(shown + step); say(plots[shown].dataset.title); }
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
one(".close", viewer).addEventListener("click", () => viewer.close());
viewer.addEventListener("close", () => opener?.focus());

// --- runs ---
const runs = all("details.run").map((element) => ({ element, text: "" }));
one("#run-filter")?.addEventListener("input", (event) => {
  const query = event.target.value.trim();
  let left = 0;
  for (const run of runs) {
    run.text ||= run.element.textContent.toLowerCase();
    run.element.hidden = query !== "" && !matches(run.text, query);
    left += !run.element.hidden;
  }
  one("#run-count").textContent = query ? `${left} of ${count(runs.length, "run")}` : count(runs.length, "run");
});
for (const button of all(".copy")) {
  button.addEventListener("click", () => copyText(one("code", button.closest(".command")).textContent, button, "Command"));
}

// --- boxes that need no scrolling are no stop of the Tab key ---
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const scrolls = target.scrollWidth > target.clientWidth + 1 || target.scrollHeight > target.clientHeight + 1;
    if (scrolls) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

// --- where one is: the section that holds the middle of the screen ---
const marks = new Map(all(".bar a").map((link) => [link.hash.slice(1), link]));
const where = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) marks.get(target.id).setAttribute("aria-current", "true");
    else marks.get(target.id).removeAttribute("aria-current");
  }
}, { rootMargin: "-45% 0px -55% 0px" });

// --- print: nothing stays folded ---
let folded = [];
const unfold = () => {
  folded = folded.concat(all("details:not([open])"));
  for (const part of folded) part.open = true;
};
const fold = () => {
  for (const part of folded) part.open = false;
  folded = [];
};
addEventListener("beforeprint", unfold);
addEventListener("afterprint", fold);
matchMedia("print").addEventListener("change", (event) => (event.matches ? unfold() : fold()));

document.documentElement.classList.add("js");
all(".table-box").forEach(enhanceTable);
all(".scroll").forEach((box) => watch.observe(box));
for (const id of marks.keys()) where.observe(document.getElementById(id));
if (location.hash) reveal(location.hash.slice(1));
