"use strict";
(() => {
  const grid = document.getElementById("grid"), tip = document.getElementById("tip");
  const byId = id => document.getElementById(id);

  const more = byId("more"), attention = document.querySelector(".attention");
  if (more) {
    more.hidden = false;
    attention.classList.add("short");
    more.addEventListener("click", () => {
      attention.classList.remove("short");
      more.hidden = true;
    });
  }
  if (!grid) return;

  const rows = [...grid.tBodies[0].rows];
  const data = JSON.parse(byId("data").textContent).map(days => new Map(days.map(([day, ...backups]) => [day, backups])));
  const header = grid.querySelector(".days");
  const days = [...header.cells].slice(1, -4).map(c => c.abbr);

  // The filter of VMs.
  const search = byId("search"), troubled = byId("troubled"), shown = byId("shown");
  const names = rows.map(r => r.cells[0].textContent.toLowerCase());
  const filter = () => {
    const wanted = search.value.trim().toLowerCase();
    let n = 0;
    rows.forEach((r, i) => {
      r.hidden = !names[i].includes(wanted) || troubled.checked && !r.className;
      if (!r.hidden) n++;
    });
    shown.textContent = n === rows.length ? "" : n + " of " + rows.length;
  };
  byId("filter").hidden = false;
  byId("filter").addEventListener("submit", e => e.preventDefault());
  search.addEventListener("input", filter);
  troubled.addEventListener("change", filter);
  window.addEventListener("hashchange", () => {
    const r = document.querySelector(":target");
    if (r && r.hidden) {
      search.value = "";
      troubled.checked = false;
      filter();
      r.scrollIntoView({block: "center"});
    }
  });

  // The backups of a day in words, at the pointer or the focus.
  const capital = s => s[0].toUpperCase() + s.slice(1);
  const of = (row, id) => {
    for (const list of data[row].values()) for (const b of list) if (b[0] === id) return b;
  };
  const chain = (row, number) => {
    let points = 0;
    for (const list of data[row].values()) for (const b of list) if (b[7] === number) points++;
    return points;
  };
  const tell = (row, [id, time, type, state, received, took, repository, number, parent, message, hint]) => {
    let text = time + "  " + capital(type) + ", " + state + " after " + took + "\n" + id + "\n";
    if (state === "completed" || state === "damaged") {
      text += received + " received, in " + repository;
      if (parent) text += "\nBased on " + parent + (of(row, parent) ? "" : ", which is older than this page");
      const points = chain(row, number);
      if (points > 1) text += "\nOne of " + points + " restore points of its chain";
      if (message) text += "\n";
    }
    if (message) text += message + (hint ? "\n→ " + hint : "");
    return text;
  };
  const place = cell => {
    const at = cell.getBoundingClientRect(), box = tip.getBoundingClientRect();
    const below = at.bottom + 8 + box.height < innerHeight;
    tip.style.left = Math.max(8, Math.min(at.left, innerWidth - box.width - 8)) + "px";
    tip.style.top = (below ? at.bottom + 8 : Math.max(8, at.top - box.height - 8)) + "px";
  };
  let lit = [], told = null;
  const hide = () => {
    tip.hidden = true;
    told = null;
    for (const c of lit) c.classList.remove("hi");
    lit = [];
  };
  const position = cell => [rows.indexOf(cell.parentNode), cell.cellIndex - 1];
  const show = cell => {
    hide();
    const [row, day] = position(cell), backups = data[row] && data[row].get(day);
    if (!backups) return;
    const title = document.createElement("b");
    title.textContent = rows[row].cells[0].textContent + " · " + days[day];
    tip.replaceChildren(title, backups.map(b => tell(row, b)).join("\n\n"));
    tip.hidden = false;
    told = cell;
    place(cell);
    const chains = new Set(backups.map(b => b[7]).filter(n => n >= 0));
    for (const [d, list] of data[row]) if (list.some(b => chains.has(b[7]))) lit.push(rows[row].cells[d + 1]);
    for (const c of lit) c.classList.add("hi");
  };
  const cellOf = target => {
    const cell = target.closest && target.closest("tbody td:not(.n)");
    return cell && grid.contains(cell) ? cell : null;
  };
  grid.addEventListener("pointerover", e => {
    const cell = cellOf(e.target);
    if (cell) show(cell); else hide();
  });
  grid.addEventListener("pointerleave", hide);

  // The Tab key stops once at the grid; the arrow keys move within it.
  let current = null;
  const move = cell => {
    if (current) current.removeAttribute("tabindex");
    current = cell;
    current.tabIndex = 0;
  };
  for (const a of grid.querySelectorAll("td a")) a.tabIndex = -1;
  if (rows.length) move(rows[0].cells[days.length]);
  const step = (cell, down, right) => {
    let [row, day] = position(cell);
    day = Math.max(0, Math.min(days.length - 1, day + right));
    do row += down; while (rows[row] && rows[row].hidden);
    return (rows[row] || cell.parentNode).cells[day + 1];
  };
  grid.addEventListener("keydown", e => {
    const cell = cellOf(e.target);
    if (!cell) return;
    const to = {ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -days.length], End: [0, days.length]}[e.key];
    if (to) {
      e.preventDefault();
      move(step(cell, ...to));
      current.focus();
    } else if (e.key === "Enter") {
      const a = cell.querySelector("a");
      if (a) a.click();
    } else if (e.key === "Escape") {
      hide();
    }
  });
  grid.addEventListener("focusin", e => {
    const cell = cellOf(e.target);
    if (!cell) return;
    if (cell !== current) move(cell);
    show(cell);
  });
  grid.addEventListener("focusout", hide);
  const scroll = document.querySelector(".scroll");
  for (const s of document.querySelectorAll(".scroll")) {
    const last = s.querySelector(".days").cells[days.length + 1]; // the column beside the newest day
    s.scrollLeft = s.clientWidth > 900 ? s.scrollWidth : last.offsetLeft + last.offsetWidth - s.clientWidth;
  }
  const follow = () => {
    if (told && told === document.activeElement) place(told); else hide();
  };
  scroll.addEventListener("scroll", follow, {passive: true});
  window.addEventListener("scroll", follow, {passive: true});
})();
