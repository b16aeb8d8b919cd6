"use strict";
// The page works without this file: it adds sorting, filters, enlarged figures, copying and the list behind a number.
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const one = (selector, within = document) => within.querySelector(selector);
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const said = one("#said");
  const say = (text) => { said.textContent = ""; requestAnimationFrame(() => { said.textContent = text; }); };
  const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

  /** What a cell says to the eye: without notes, and without what only a screen reader hears. */
  const seen = (cell) => {
    const copy = cell.cloneNode(true);
    for (const part of all(".sr, sup, .group-of, [aria-hidden]", copy)) part.remove();
    return copy.textContent.replace(/\s+/g, " ").trim();
  };

  const copyText = async (text, button, what) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {  // a browser without the clipboard for files on disk
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    say(`${what} copied`);
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  };

  const matches = (text, query) => query.toLowerCase().split(/\s+/).every((word) => text.includes(word));

  // --- tables: each keeps the order it came in, and the groups of that order ---
  const enhanceTable = (box) => {
    const table = one("table", box);
    const heads = all(".names th", table);
    const bodies = all("tbody", table);
    const rows = all("tr.row", table).map((element) => ({ element, home: element.parentNode, text: "" }));
    const sorted = document.createElement("tbody");
    const restore = one(".restore", box);
    const output = one(".count", box);
    const input = one("input", box);

    const show = () => {
      for (const body of bodies) body.hidden = !body.querySelector("tr.row:not([hidden])");
      keepOneStop();
    };

    const order = (column, direction) => {
      const number = heads[column].dataset.sort === "number";
      const sign = direction === "descending" ? -1 : 1;
      const keyed = rows.map((row, place) => {
        const cell = row.element.cells[column];
        const key = number ? (cell.dataset.value === undefined ? null : Number(cell.dataset.value)) : seen(cell);
        return { row, place, key: key === "" ? null : key };
      });
      keyed.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
        const difference = number ? (a.key < b.key ? -1 : a.key > b.key ? 1 : 0) : words.compare(a.key, b.key);
        return sign * difference || a.place - b.place;
      });
      return keyed.map((item) => item.row);
    };

    const sort = (column, direction) => {
      heads.forEach((head, place) => {
        if (place === column && direction) head.setAttribute("aria-sort", direction);
        else head.removeAttribute("aria-sort");
      });
      restore.hidden = !direction;
      for (const label of all(".group-of", table)) label.hidden = !direction;
      if (direction) {
        sorted.append(...order(column, direction).map((row) => row.element));
        table.append(sorted);
      } else {
        for (const row of rows) row.home.append(row.element);
        sorted.remove();
      }
      show();
      const name = direction ? one("button", heads[column]).textContent.replace(/\s+/g, " ").trim() : "";
      say(direction ? `Sorted by ${name}, ${direction}` : "Order restored");
    };

    heads.forEach((head, column) => {
      const button = one("button", head);
      if (!button) return;
      button.disabled = false;
      button.addEventListener("click", () => {
        const first = head.dataset.first;
        const second = first === "ascending" ? "descending" : "ascending";
        const now = head.getAttribute("aria-sort");
        sort(column, now === null ? first : now === first ? second : null);
      });
    });
    restore.addEventListener("click", () => { sort(-1, null); input.focus(); });

    input.addEventListener("input", () => {
      const query = input.value.trim();
      let left = 0;
      for (const row of rows) {
        row.text ||= (all("th, td", row.element).map(seen).join(" ") + " " + (one(".group-of", row.element)?.textContent ?? "")).toLowerCase();
        row.element.hidden = query !== "" && !matches(row.text, query);
        left += !row.element.hidden;
      }
      output.textContent = query ? `${left} of ${count(rows.length, "row")}` : count(rows.length, "row");
      show();
    });

    // Hundreds of linked numbers are one stop of the Tab key; arrow keys move among them.
    let stop = null;
    const keepOneStop = (wanted = stop) => {
      if (!wanted || wanted.closest("[hidden]")) wanted = all("tr.row:not([hidden]) a", table).find((link) => !link.closest("[hidden]"));
      if (stop && stop !== wanted) stop.tabIndex = -1;
      stop = wanted ?? null;
      if (stop) stop.tabIndex = 0;
    };
    for (const link of all("tbody a", table)) link.tabIndex = -1;
    keepOneStop();
    table.addEventListener("focusin", (event) => {
      const link = event.target.closest("tbody a");
      if (link) keepOneStop(link);
    });
    table.addEventListener("keydown", (event) => {
      const link = event.target.closest("tbody a");
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
      if (!link || !(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const [down, right] = steps[event.key];
      const row = link.closest("tr");
      const inRow = all("a", row);
      let next = inRow[inRow.indexOf(link) + right];
      if (down) {
        const shown = all("tr.row", table).filter((other) => !other.closest("[hidden]"));
        const cell = link.closest("td, th").cellIndex;
        let place = shown.indexOf(row) + down;
        while (shown[place] && !one("a", shown[place].cells[cell])) place += down;
        next = shown[place] && one("a", shown[place].cells[cell]);
      }
      next?.focus();
    });

    one(".copy-table", box).addEventListener("click", (event) => {
      const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
      const grouped = all(".group-of", table).length > 0;
      const names = heads.map((head) => {
        const copy = head.cloneNode(true);
        for (const part of all(".better, .better + .sr", copy)) part.remove();
        return copy.textContent.replace(/\s+/g, " ").trim();
      });
      const lines = [grouped ? ["group", ...names] : names];
      for (const row of all("tr.row", table)) {
        if (row.closest("[hidden]")) continue;
        const cells = Array.from(row.cells, seen);
        lines.push(grouped ? [one(".group-of", row)?.textContent ?? "", ...cells] : cells);
      }
      copyText(lines.map((line) => line.map(quoted).join(",")).join("\n") + "\n", event.currentTarget, "Table");
    });
  };

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
  all(".scroll, pre").forEach((box) => watch.observe(box));
  for (const id of marks.keys()) where.observe(document.getElementById(id));
  if (location.hash) reveal(location.hash.slice(1));
})();
