// A click on a column's head sorts by it, largest first; once more turns the order around.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const text = head.dataset.kind === "text";
    const first = text ? "ascending" : "descending";
    const order = head.getAttribute("aria-sort") === first ? (text ? "descending" : "ascending") : first;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const value = row => text ? row.cells[column].textContent : Number(row.cells[column].dataset.value);
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => sign * (text ? value(a).localeCompare(value(b)) : value(a) - value(b)));
    table.tBodies[0].append(...rows);
  }));
}

for (const field of document.querySelectorAll(".filter input")) {
  const rows = field.closest("section").querySelectorAll("table.sortable tbody tr");
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(wanted);
  });
}

const large = document.getElementById("large");
for (const image of document.querySelectorAll("figure img")) {
  image.addEventListener("click", () => {
    large.querySelector("img").src = image.src;
    large.querySelector("p").textContent = image.alt;
    large.showModal();
  });
}
large.addEventListener("click", () => large.close());
