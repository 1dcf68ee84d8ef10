// Keeps a page up to date: the server sends the HTML of each part that has changed.  Without it the pages work as well.
"use strict";

const state = document.getElementById("live-state");
const pause = document.getElementById("pause");
let source = null;
let paused = false;
let again = 0;

function tell(text) {
  if (state.textContent !== text) state.textContent = text;
}

// A part stays as it is while somebody selects text in it.
function isInUse(part) {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function replace(part, html) {
  const focused = part.contains(document.activeElement) ? document.activeElement.id : "";
  const open = Array.from(part.querySelectorAll("details[open][id]"), (each) => each.id);
  part.innerHTML = html;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

function take(event) {
  tell("live");
  for (const [name, html] of Object.entries(JSON.parse(event.data))) {
    const part = document.getElementById(`part-${name}`);
    if (part !== null && !isInUse(part)) replace(part, html);
  }
}

function follow() {
  clearTimeout(again);
  if (paused || document.hidden || source !== null) return;
  source = new EventSource(document.body.dataset.live);
  source.onmessage = take;
  source.onopen = () => tell("live");
  source.onerror = () => {
    tell("not connected");
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    source = null;
    again = setTimeout(follow, 5000);
  };
}

function leave(text) {
  source?.close();
  source = null;
  tell(text);
}

function toggle() {
  paused = !paused;
  document.getElementById("pause-word").textContent = paused ? "Resume" : "Pause";
  if (paused) leave("paused");
  else follow();
}

pause.hidden = false;
pause.addEventListener("click", toggle);
document.addEventListener("visibilitychange", () => (document.hidden ? leave("") : follow()));
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const filter = document.getElementById("filter-text");
  const help = document.getElementById("help");
  if (event.key === "p") toggle();
  else if (event.key === "/" && filter !== null) {
    event.preventDefault();
    filter.focus();
  } else if (event.key === "?") {
    help.open = !help.open;
    help.querySelector("summary").focus();
  }
});
follow();
