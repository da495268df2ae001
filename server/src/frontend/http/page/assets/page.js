// Brings the newest state of the view that is shown, and counts on what has passed. The page is whole without it.
// What comes is markup that the broker made, with every name escaped; the browser runs nothing in it (Content-Security-Policy).

const main = document.getElementById("main");
const live = document.getElementById("live");
let fresh = performance.now();

function say(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

// Times, as the broker writes them.
function time(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (number) => String(number).padStart(2, "0");
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${two(Math.floor(seconds / 60) % 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${two(Math.floor(seconds / 3600) % 24)} h`;
}

function tick() {
  const passed = performance.now() - fresh;
  for (const span of main.querySelectorAll("[data-age]")) say(span, time(Number(span.dataset.age) + passed));
  for (const span of main.querySelectorAll("[data-left]")) say(span, time(Math.max(0, Number(span.dataset.left) - passed)));
}

// Makes one element like another, and leaves alone what is the same: focus, selection and scrolling stay.
function become(own, next) {
  if (own.nodeType === Node.TEXT_NODE) {
    if (own.data !== next.data) own.data = next.data;
    return;
  }
  for (const { name } of [...own.attributes]) if (!next.hasAttribute(name)) own.removeAttribute(name);
  for (const { name, value } of next.attributes) if (own.getAttribute(name) !== value) own.setAttribute(name, value);
  const wanted = [...next.childNodes];
  const keys = new Set(wanted.map((node) => node.dataset?.key).filter((key) => key !== undefined));
  for (const node of [...own.childNodes]) {
    if (node.dataset?.key !== undefined && !keys.has(node.dataset.key)) node.remove();
  }
  const kept = new Map([...own.children].filter((node) => node.dataset.key !== undefined).map((node) => [node.dataset.key, node]));
  let at = own.firstChild;
  for (const node of wanted) {
    const key = node.dataset?.key;
    const alike = at && at.nodeName === node.nodeName && at.dataset?.key === undefined;
    const known = key === undefined ? (alike ? at : undefined) : kept.get(key);
    if (!known) {
      own.insertBefore(document.importNode(node, true), at);
    } else {
      if (known === at) at = at.nextSibling;
      else own.insertBefore(known, at);
      become(known, node);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function show(html) {
  const next = document.createElement("main");
  next.append(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  for (const { name, value } of main.attributes) next.setAttribute(name, value);
  const focused = document.activeElement;
  become(main, next);
  fresh = performance.now();
  tick();
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

// What somebody who does not see the page wants to hear of: the large figures, when one has changed.
function figures() {
  return [...main.querySelectorAll(".figures > div")]
    .filter((div) => !div.querySelector("[data-age], [data-left]"))
    .map((div) => `${div.firstChild.textContent} ${div.lastChild.textContent}`).join(", ");
}

let events;

function follow() {
  events?.close();
  const own = (events = new EventSource(main.dataset.live));
  own.addEventListener("open", () => say(live, "Live: what changes is shown within a second or two."));
  own.addEventListener("view", (event) => {
    const before = figures();
    show(JSON.parse(event.data));
    const after = figures();
    if (before !== after) say(document.getElementById("news"), after);
  });
  // The broker could not make the view, which may pass. If it was a right that ended, the next try says so.
  own.addEventListener("over", (event) => {
    own.close();
    say(live, `Not live: ${JSON.parse(event.data)}`);
    setTimeout(() => {
      if (own === events && !document.hidden) follow();
    }, 5000);
  });
  own.addEventListener("error", () => {
    say(live, own.readyState === EventSource.CLOSED
      ? "Not live: the broker does not let you watch this. Load the page again to see what has changed."
      : "Not live: the broker does not answer. What is shown may be old.");
  });
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select")) return;
  const field = document.getElementById("q");
  if (field) {
    event.preventDefault();
    field.focus();
    field.select();
  }
});

setInterval(tick, 1000);
if (main.dataset.live) {
  follow();
  // A page that nobody sees needs no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? events.close() : follow()));
}
