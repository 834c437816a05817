"use strict";
/* Shows what is chosen, from the tables further down, and keeps the choice in the page's address. */
{
  const form = document.getElementById("choose");
  const chosen = document.getElementById("chosen");
  const said = document.getElementById("said");
  const selects = [...form.querySelectorAll("select")];
  const sources = [...document.querySelectorAll("table[data-region]")];
  const notes = [...document.querySelectorAll("[data-note]")];

  /* An option's position; "all" is -1, and takes everything. */
  const takes = (position, number) => position < 0 || position === Number(number);

  const headed = (title, rows) => {
    const group = document.createElement("tbody");
    const heading = document.createElement("th");
    heading.scope = "rowgroup";
    heading.colSpan = chosen.tHead.rows[0].cells.length;
    heading.textContent = title;
    group.insertRow().append(heading);
    group.append(...rows);
    return group;
  };

  const show = () => {
    const [region, metric, subset] = selects.map((each) => each.selectedIndex - 1);
    const groups = [];
    let lines = 0;
    for (const source of sources) {
      if (!takes(region, source.dataset.region) || !takes(metric, source.dataset.metric)) continue;
      const rows = [...source.querySelectorAll("tr[data-line]")].filter((row) => takes(subset, row.dataset.line));
      if (rows.length) groups.push(headed(source.caption.textContent, rows.map((row) => row.cloneNode(true))));
      lines += rows.length;
    }
    const name = selects.map((each) => each.selectedOptions[0].textContent).join(", ");
    for (const old of [...chosen.tBodies]) old.remove();
    if (groups.length === 1) groups[0].rows[0].remove(); // the caption says the same
    chosen.append(...groups);
    chosen.caption.textContent = name;
    for (const note of notes) note.hidden = !takes(metric, note.dataset.note);
    said.textContent = lines ? `${name}: ${lines} line${lines === 1 ? "" : "s"}.` : `${name}: no score.`;
  };

  /* Takes the choice from the address; returns whether there is one. What this page does not have is named. */
  const read = () => {
    const state = new URLSearchParams(location.hash.slice(1));
    const asked = selects.filter((each) => state.has(each.name));
    const unknown = [];
    for (const each of asked) {
      const position = [...each.options].findIndex((option) => option.value === state.get(each.name));
      if (position < 0) unknown.push(`There is no ${each.name} "${state.get(each.name)}" here.`);
      else each.selectedIndex = position;
    }
    if (asked.length) show();
    if (unknown.length) said.textContent = `${unknown.join(" ")} Shown: ${said.textContent}`;
    return asked.length > 0;
  };

  form.addEventListener("change", () => {
    location.replace(`#${new URLSearchParams(selects.map((each) => [each.name, each.value]))}`);
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", read);
  form.hidden = false;
  if (read()) document.getElementById("choice").scrollIntoView();
  else show();
}
