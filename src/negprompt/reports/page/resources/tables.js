// What every part of the script uses, and tables that sort and filter. With page.js this is one function of its own.

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
