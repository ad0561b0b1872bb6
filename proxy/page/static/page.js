// Replaces the parts of a view as the server sends them. The server has escaped everything in them.
"use strict";

(() => {
  const moving = document.querySelector("[data-stream]");
  if (!moving) return;

  const beat = moving.querySelector("[data-beat]");
  const button = moving.querySelector("[data-pause]");
  let paused = false;
  let waiting = {};

  function parsed(content) {
    const template = document.createElement("template");
    template.innerHTML = content;
    return template.content;
  }

  // Keeps rows that did not change, so that focus and selection stay where they are.
  function replaceRows(list, content) {
    const known = new Map([...list.children].map((row) => [row.dataset.key, row]));
    const rows = [...parsed(content).children].map((row) => {
      const old = known.get(row.dataset.key);
      if (!old || old.outerHTML === row.outerHTML) return old || row;
      if (old.contains(document.activeElement)) return old;
      return row;
    });
    if (rows.length === list.children.length && rows.every((row, at) => row === list.children[at])) return;
    const focused = document.activeElement;
    list.replaceChildren(...rows);
    if (focused && list.contains(focused) && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  function show(parts) {
    for (const [id, content] of Object.entries(parts)) {
      const element = document.getElementById(id);
      if (!element) continue;
      if ("keyed" in element.dataset) replaceRows(element, content);
      else if (!element.contains(document.activeElement)) element.replaceChildren(parsed(content));
    }
  }

  const source = new EventSource(moving.dataset.stream);
  source.onmessage = (event) => {
    waiting = { ...waiting, ...JSON.parse(event.data) };
    if (paused) return;
    show(waiting);
    waiting = {};
  };
  source.onopen = () => { beat.textContent = ""; beat.classList.add("on"); };
  source.onerror = () => { beat.classList.remove("on"); beat.textContent = "no connection to the server; trying again"; };

  function pause() {
    paused = !paused;
    button.setAttribute("aria-pressed", String(paused));
    button.textContent = paused ? "Go on" : "Pause";
    if (!paused) { show(waiting); waiting = {}; }
  }
  button.hidden = false;
  button.addEventListener("click", pause);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key === "p" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) pause();
  });
})();
