// The table of rows: sortable, searchable, and shown in parts so that thousands of rows stay fast.
const STEP = 100;

function rowTable({ columns, rows, states, unit, total }) {
  const section = document.getElementById("rows");
  const body = section.querySelector("tbody");
  const search = document.getElementById("search");
  const choice = document.getElementById("state");
  const more = document.getElementById("more");
  const state = columns.findIndex((column) => column.name === states);
  let sorted = { column: -1, down: false };
  let limit = STEP;

  const heads = columns.map((column, place) => {
    const head = make("th", { scope: "col", title: column.text, class: column.digits === "text" ? "text" : "" });
    const button = make("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      // Numbers are sorted from the largest, names alphabetically.
      const down = sorted.column === place ? !sorted.down : column.digits !== "text";
      sorted = { column: place, down };
      limit = STEP;
      draw();
    });
    head.append(button);
    return head;
  });
  section.querySelector("thead tr").append(...heads);
  for (const name of new Set(rows.map((row) => row[state]))) choice.append(make("option", { value: name }, name));

  function chosen() {
    const wanted = search.value.trim().toLowerCase();
    const kept = rows.filter((row) =>
      (!wanted || String(row[0]).toLowerCase().includes(wanted)) && (!choice.value || row[state] === choice.value));
    const { column, down } = sorted;
    if (column < 0) return kept;
    const sign = down ? -1 : 1;
    return kept.toSorted((one, other) => {
      const [a, b] = [one[column], other[column]];
      if (a === null || b === null) return (a === null) - (b === null);
      if (typeof a === "number" && typeof b === "number") return sign * (a - b);
      return sign * String(a).localeCompare(String(b), "en", { numeric: true });
    });
  }

  function draw() {
    heads.forEach((head, place) => head.setAttribute(
      "aria-sort", place !== sorted.column ? "none" : sorted.down ? "descending" : "ascending"));
    const kept = chosen();
    body.replaceChildren(...kept.slice(0, limit).map((row) => {
      const line = make("tr");
      line.append(...row.map((value, place) => {
        const cell = make("td", {}, shown(value, columns[place].digits));
        if (columns[place].digits === "text") cell.classList.add("text");
        if (place === state) cell.classList.add(`state-${value}`);
        return cell;
      }));
      return line;
    }));
    const visible = Math.min(limit, kept.length);
    document.getElementById("shown").textContent =
      `${visible.toLocaleString("en")} of ${kept.length.toLocaleString("en")} ${unit} shown` +
      (rows.length < total ? ` (the page holds ${rows.length.toLocaleString("en")} of ${total.toLocaleString("en")})` : "") + ".";
    more.classList.toggle("hidden", visible === kept.length);
  }

  function restart() {
    limit = STEP;
    draw();
  }

  search.addEventListener("input", restart);
  choice.addEventListener("change", restart);
  more.addEventListener("click", () => { limit += 2 * STEP; draw(); });
  document.getElementById("download").addEventListener("click", () => {
    const quote = (value) => value === null ? "" : /[",\n\r]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value;
    const lines = [columns.map((column) => column.name), ...chosen()].map((row) => row.map(quote).join(","));
    const link = make("a", { download: "classes.csv" });
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  draw();
}

rowTable(data.table);
