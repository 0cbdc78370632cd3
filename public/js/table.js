// @ts-check
// A table whose rows are known by a key and changed in place, so that nothing flickers or loses focus.

/**
 * `text` gives a cell's text, `link` makes it a link, `show` fills it in a way of its own.
 * @template Row
 * @typedef {{title: string, kind?: string, text?: (row: Row) => string | number,
 *   link?: (row: Row) => string, show?: (cell: HTMLElement, row: Row) => void}} Column
 */

const table = /** @type {HTMLTableElement} */ (document.querySelector("table"));
const [head, body] = [table.tHead ?? table.createTHead(), table.tBodies[0]];

/** @type {Column<any>[]} */
let shown = [];

/** Put an element with its text into another, or change it when it is already there. */
export function put(
  /** @type {HTMLElement} */ parent,
  /** @type {keyof HTMLElementTagNameMap} */ tag,
  /** @type {string | number} */ text,
) {
  let element = parent.querySelector(tag);
  if (!element) parent.append((element = document.createElement(tag)));
  if (element.textContent !== String(text)) element.textContent = String(text);
  return /** @type {HTMLElement} */ (element);
}

/** @param {Column<any>[]} columns */
function begin(columns) {
  if (shown === columns) return;
  shown = columns;
  const row = document.createElement("tr");
  for (const { title, kind } of columns) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kind ?? "";
    cell.textContent = title;
    row.append(cell);
  }
  head.replaceChildren(row);
  body.replaceChildren();
}

/**
 * @param {HTMLTableRowElement} element
 * @param {any} row
 */
function fill(element, row) {
  shown.forEach(({ title, kind, text, link, show }, index) => {
    const cell = element.cells[index] ?? element.insertCell();
    cell.className = kind ?? "";
    cell.dataset.title = title;
    if (show) show(cell, row);
    else if (link?.(row)) put(cell, "a", text?.(row) ?? "").setAttribute("href", link(row));
    else put(cell, "span", text?.(row) ?? "");
  });
}

/**
 * Show the rows under the columns; rows with the same key stay the same elements.
 * @template Row
 * @param {Column<Row>[]} columns
 * @param {Row[]} rows
 * @param {(row: Row) => string} key
 */
export function show(columns, rows, key) {
  begin(columns);
  const old = new Map([...body.rows].map((element) => [element.dataset.key, element]));
  rows.forEach((row, index) => {
    const element = old.get(key(row)) ?? document.createElement("tr");
    old.delete(key(row));
    element.dataset.key = key(row);
    fill(element, row);
    if (body.rows[index] !== element) body.insertBefore(element, body.rows[index] ?? null);
  });
  old.forEach((element) => element.remove());
  table.hidden = rows.length === 0;
}
